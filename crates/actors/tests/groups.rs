//! Groups: what is published reaches each member once, and no member that has left or ended.

mod simulated;

use banyan_actors::simulation::Ending;
use banyan_actors::{Addr, Configuration, Context, Failure, Group, Grouped, Quota, Simulation, closure};

use simulated::{listener, run};

#[test]
fn what_is_published_reaches_each_member_once() {
    let mut simulation = Simulation::new(1, 2, Quota::AMPLE);
    let (one, first) = listener::<u32>(&simulation);
    let (other, second) = listener::<u32>(&simulation);
    let (mortal, third) = listener::<u32>(&simulation);
    let number = simulation.configurations().iter().map(|one| one.number).max().unwrap();
    let group: Addr<Grouped<u32>> = simulation.create_actor(Configuration::new("group"), Group::default());
    for member in [&one, &other, &one, &mortal] {
        simulation.send(&group, Grouped::Join(member.clone()));
    }
    simulation.send(&group, Grouped::Publish(1));
    simulation.send(&group, Grouped::Leave(other));
    simulation.send(&group, Grouped::Publish(2));
    assert_eq!(simulation.run(100_000), Ending::Drained);
    simulation.remove(number);
    assert_eq!(simulation.run(100_000), Ending::Drained);
    let before = simulation.dead_letters();
    simulation.send(&group, Grouped::Publish(3));
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(simulation.dead_letters(), before, "nothing is sent to the dead");
    let received = [first, second, third].map(|received| received.try_iter().collect::<Vec<_>>());
    assert_eq!(received, [vec![1, 2, 3], vec![1], vec![1, 2]]);
}

/// An event that cannot be paid for reaches nobody, and joining in an event that is undone is none.
#[test]
fn all_members_get_it_or_none() {
    let mut simulation = Simulation::new(1, 1, Quota::AMPLE);
    let (values, received) = listener::<Vec<u8>>(&simulation);
    let group: Addr<Grouped<Vec<u8>>> =
        simulation.create_actor(Configuration::new("group"), Group::default());
    for _ in 0..10 {
        let values = values.clone();
        let member = closure((), move |(), bytes: &Vec<u8>, context: &mut Context<'_>| {
            context.send(&values, bytes.clone());
            Ok(())
        });
        let member = simulation.create(Configuration::new("member").with_behaviour(member));
        simulation.send(&group, Grouped::Join(member.typed()));
    }
    let undone = group.clone();
    let stranger = values.clone();
    run(&mut simulation, move |context| {
        context.send(&undone, Grouped::Join(stranger.clone()));
        Err(Failure::because("on purpose"))
    });
    let poor =
        simulation.sponsor("poor", Quota { memory: 40_000, cycles: 1 << 30, events: 1 << 10 }).unwrap();
    simulation.send_under(&poor, &group, Grouped::Publish(vec![7; 5_000]));
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(received.try_iter().count(), 0);
    simulation.grant(&poor, Quota { memory: 1 << 20, cycles: 0, events: 0 });
    assert_eq!(simulation.run(100_000), Ending::Drained);
    assert_eq!(received.try_iter().count(), 10);
}
