//! A cluster whose machines agree on what it is: who loses whom, and what goes on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use banyan_tests::compile::{self, Link};
use banyan_tests::launch::{End, How, excerpt};
use banyan_tests::{Case, Running, gate, processes, workspace};
use rustix::process::Signal;
use serde_json::Value;

use crate::cluster::{Cluster, refused, succeed};

/// What comes about by itself has come about within this time, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(40);
/// What is promised: nobody waits longer for another member to lead.
const PAUSE: Duration = Duration::from_secs(3);

/// The members with a seat, as a node sees it.
fn seated(cluster: &Cluster, node: usize, seat: &str) -> Vec<String> {
    let status = cluster.status(node);
    let members = status["members"].as_array().unwrap();
    let found = members.iter().filter(|member| member["seat"] == seat);
    found.map(|member| member["name"].as_str().unwrap().to_owned()).collect()
}

/// Waits until this many members vote, the leader among them, as a node sees it. Gives the leader's number.
fn wait_for_voters(cluster: &Cluster, node: usize, voters: usize) -> usize {
    let until = Instant::now() + PATIENCE;
    loop {
        let (leader, others) = (seated(cluster, node, "leader"), seated(cluster, node, "voter"));
        if leader.len() + others.len() == voters && leader.len() == 1 {
            return leader[0][1..].parse::<usize>().unwrap() - 1;
        }
        assert!(Instant::now() < until, "{leader:?} leads {others:?}, not {voters} members");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Three nodes that vote, called n1 to n3 in the order of their numbers.
fn three() -> Option<Cluster> {
    let cluster = Cluster::start(3)?;
    wait_for_voters(&cluster, 0, 3);
    Some(cluster)
}

/// What a node says of itself.
fn own(cluster: &Cluster, node: usize, what: &str) -> String {
    let status = cluster.status(node);
    let members = status["members"].as_array().unwrap();
    let own = members.iter().find(|member| member["id"] == status["own"]).unwrap();
    own[what].as_str().unwrap().to_owned()
}

fn send(cluster: &Cluster, node: usize, signal: Signal) -> i32 {
    let process = cluster.process(node);
    processes::send(process, signal);
    process
}

/// How long a change waits that is asked for now.
fn pause(cluster: &Cluster, node: usize) -> Duration {
    let begun = Instant::now();
    succeed(&cluster.command(node, &["token", "new"]));
    begun.elapsed()
}

fn members(cluster: &Cluster, node: usize) -> usize {
    cluster.status(node)["members"].as_array().unwrap().len()
}

fn names(cluster: &Cluster, node: usize) -> Vec<(String, String)> {
    let output = cluster.command(node, &["name", "list", "--json"]);
    succeed(&output);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parsed = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["value"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn the_first_machine_is_killed_and_the_cluster_and_its_programs_go_on() {
    let _pass = gate::enter();
    let Some(cluster) = three() else { return };
    let endless = Case::new(compile::c("endless", Link::Dynamic).unwrap(), ["busy"]);
    let mut running = Running::start(&cluster.on(1, &endless), How::Banyan(1)).unwrap();
    running.wait_for_output("ready", Duration::from_secs(30)).unwrap();

    send(&cluster, 0, Signal::KILL);
    let pause = pause(&cluster, 1);
    eprintln!("a change waited for {} ms after the member that led was killed", pause.as_millis());
    assert!(pause <= PAUSE, "{pause:?}");
    assert!(!running.has_ended().unwrap(), "a program does not need the member that leads");
    processes::send(running.pid(), Signal::TERM);
    assert_eq!(running.finish(Duration::from_secs(10)).unwrap().end, End::Signal(15));

    succeed(&cluster.join(3, &own(&cluster, 2, "address"), &cluster.token, &[]));
    assert_eq!((members(&cluster, 1), members(&cluster, 2), members(&cluster, 3)), (4, 4, 4));
    cluster.up(0);
    assert_eq!(members(&cluster, 0), 4);
    succeed(&cluster.command(0, &["token", "new"]));
}

#[test]
fn the_first_machine_leaves() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let key = |node: usize| cluster.state(node).join("authority.key").exists();
    assert!(key(0) && !key(1));
    let address = &own(&cluster, 1, "address");
    succeed(&cluster.command(0, &["leave"]));
    assert!(!key(0) && !cluster.state(0).join("company.redb").exists(), "nothing is left of it");
    assert!(key(1), "who votes must be able to let machines in");
    assert_eq!(members(&cluster, 1), 1);
    // The token that the first one has made is good still.
    succeed(&cluster.join(2, address, &cluster.token, &[]));
    succeed(&cluster.join(3, address, &cluster.token, &[]));
    let leader = wait_for_voters(&cluster, 3, 3);
    // And again, with others that vote.
    succeed(&cluster.command(leader, &["leave"]));
    let left = if leader == 2 { 3 } else { 2 };
    assert_eq!(members(&cluster, left), 2);
    succeed(&cluster.command(left, &["token", "new"]));
}

#[test]
fn who_has_no_majority_refuses_with_words_and_knows_all_when_it_is_back() {
    let _pass = gate::enter();
    let Some(cluster) = three() else { return };
    succeed(&cluster.command(1, &["name", "register", "kept", "value", "--for", "1h"]));
    for node in [1, 2] {
        send(&cluster, node, Signal::KILL);
    }
    let begun = Instant::now();
    let output = cluster.command(0, &["token", "new"]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(125), "{text}");
    assert!(text.contains("majority") && text.contains("n2") && text.contains("n3"), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // What it knew it knows.
    assert_eq!(members(&cluster, 0), 3);
    cluster.up(1);
    succeed(&cluster.command(0, &["token", "new"]));
    cluster.up(2);
    for node in 0..3 {
        wait_for_voters(&cluster, node, 3);
        assert_eq!(names(&cluster, node), [("kept".into(), "value".into())]);
    }
}

#[test]
fn what_was_said_to_be_done_is_done_when_all_are_killed_at_once() {
    const ROUNDS: usize = 3;
    let _pass = gate::enter();
    let Some(cluster) = three() else { return };
    let mut kept: Vec<(String, String)> = Vec::new();
    for round in 0..ROUNDS {
        let processes: Vec<i32> = (0..3).map(|node| cluster.process(node)).collect();
        std::thread::scope(|scope| {
            let changing = scope.spawn(|| {
                let mut done = Vec::new();
                for number in 0.. {
                    let (name, value) = (format!("r{round}-{number:03}"), format!("v{number}"));
                    let output = cluster.command(1, &["name", "register", &name, &value, "--for", "1h"]);
                    if !output.status.success() {
                        return done;
                    }
                    done.push((name, value));
                }
                done
            });
            std::thread::sleep(Duration::from_millis(700));
            processes.iter().for_each(|&process| processes::send(process, Signal::KILL));
            kept.extend(changing.join().unwrap());
        });
        (0..3).for_each(|node| drop(cluster.up(node)));
        wait_for_voters(&cluster, 0, 3);
        let found = names(&cluster, round % 3);
        let lost: Vec<_> = kept.iter().filter(|one| !found.contains(one)).collect();
        assert!(lost.is_empty(), "lost in round {round}: {lost:?}");
    }
    assert!(kept.len() > ROUNDS, "{kept:?}");
}

#[test]
fn who_leads_is_paused_for_ten_seconds_and_follows_then() {
    let _pass = gate::enter();
    let Some(cluster) = three() else { return };
    let leader = wait_for_voters(&cluster, 0, 3);
    let (one, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let process = send(&cluster, leader, Signal::STOP);
    let stopped = Instant::now();
    let pause = pause(&cluster, one);
    eprintln!("a change waited for {} ms after the member that led was paused", pause.as_millis());
    succeed(&cluster.command(other, &["name", "register", "meanwhile", "x", "--for", "1h"]));
    std::thread::sleep(Duration::from_secs(10).saturating_sub(stopped.elapsed()));
    processes::send(process, Signal::CONT);
    succeed(&cluster.command(leader, &["name", "register", "after", "y", "--for", "1h"]));
    let both = [("after".into(), "y".into()), ("meanwhile".into(), "x".into())];
    for node in 0..3 {
        assert_eq!(names(&cluster, node), both, "node {node}");
        assert_eq!(seated(&cluster, node, "leader").len(), 1);
    }
    assert!(pause <= PAUSE + Duration::from_secs(5), "{pause:?}: requests wait for a member that is stopped");
}

#[test]
fn a_name_is_found_everywhere_and_gone_after_its_lease() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let register =
        |node, value, time| cluster.command(node, &["name", "register", "web", value, "--for", time]);
    succeed(&register(0, "10.0.0.1:80", "1h"));
    assert_eq!(names(&cluster, 1), [("web".into(), "10.0.0.1:80".into())]);
    refused(&register(1, "10.0.0.2:80", "1h"), "has registered that name");
    refused(&cluster.command(1, &["name", "register", "a b", "x"]), "cannot be a name");
    succeed(&register(0, "10.0.0.1:81", "2s"));
    let begun = Instant::now();
    let sql = cluster.command(0, &["sql", "--csv", "SELECT value, lease_s FROM names"]);
    assert!(String::from_utf8_lossy(&sql.stdout).contains("10.0.0.1:81,2"), "{}", excerpt(&sql.stderr));
    while !names(&cluster, 1).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "its lease does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(1500),
        "{:?}: before its lease was over",
        begun.elapsed()
    );
    succeed(&register(1, "10.0.0.2:80", "1h"));
    succeed(&cluster.command(0, &["name", "remove", "web"]));
    assert_eq!(names(&cluster, 0), []);
    refused(&cluster.command(0, &["name", "remove", "web"]), "nothing is registered");
}

#[test]
fn a_name_that_is_kept_is_there_as_long_as_who_keeps_it() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let mut keeper = Command::new(workspace::banyan().unwrap())
        .args(["name", "register", "kept", "here", "--for", "2s", "--keep"])
        .env("BANYAN_STATE", cluster.state(1))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while names(&cluster, 0).is_empty() {
        assert!(Instant::now() < until, "it is not registered");
        std::thread::sleep(Duration::from_millis(50));
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(6) {
        assert_eq!(names(&cluster, 0), [("kept".into(), "here".into())], "after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    let until = Instant::now() + PATIENCE;
    while !names(&cluster, 0).is_empty() {
        assert!(Instant::now() < until, "nobody keeps it any more");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_machine_without_its_log_is_not_who_it_was() {
    let _pass = gate::enter();
    let Some(cluster) = three() else { return };
    send(&cluster, 2, Signal::KILL);
    std::fs::remove_file(cluster.state(2).join("company.redb")).unwrap();
    let up = cluster.command(2, &["up"]);
    let text = String::from_utf8_lossy(&up.stderr).into_owned();
    assert!(!up.status.success() && text.contains("company.redb") && text.contains("join anew"), "{text}");
    std::fs::remove_dir_all(cluster.state(2)).unwrap();
    succeed(&cluster.command(0, &["node", "remove", "n3"]));
    cluster.add(2);
    wait_for_voters(&cluster, 2, 3);
}

/// The files of a cluster before it had companies: lists and nothing else.
#[test]
fn a_cluster_without_a_company_is_taken_over() {
    let _pass = gate::enter();
    let Some(cluster) = three() else { return };
    for node in 0..3 {
        succeed(&cluster.command(node, &["down"]));
        std::fs::remove_file(cluster.state(node).join("company.redb")).unwrap();
        let file = cluster.state(node).join("machine.json");
        let mut machine: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert!(machine.as_object_mut().unwrap().remove("log").is_some());
        std::fs::write(&file, machine.to_string()).unwrap();
        if node > 0 {
            let _ = std::fs::remove_file(cluster.state(node).join("authority.key"));
        }
    }
    (0..3).for_each(|node| drop(cluster.up(node)));
    wait_for_voters(&cluster, 2, 3);
    assert_eq!(members(&cluster, 1), 3);
    succeed(&cluster.command(2, &["token", "new"]));
}

/// A file system of its own, as large as is said; unmounted when it is dropped.
struct Small<'a>(&'a Path);

impl Small<'_> {
    fn mount<'a>(at: &'a Path, size: &str) -> Option<Small<'a>> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "banyan"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Small(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_under_one_log_stops_one_member_until_there_is_room() {
    let _pass = gate::enter();
    let Some(cluster) = Cluster::start(2) else { return };
    let state = cluster.state(2);
    let Some(_small) = Small::mount(&state, "16m") else {
        eprintln!("only root may mount a file system; this is not tested here");
        return;
    };
    cluster.add(2);
    wait_for_voters(&cluster, 0, 3);
    let full = state.join("full");
    while std::fs::File::options()
        .create(true)
        .append(true)
        .open(&full)
        .and_then(|mut file| std::io::Write::write_all(&mut file, &[1; 4096]))
        .is_ok()
    {}
    let register = |number: usize| {
        let value = "x".repeat(1000);
        cluster.command(0, &["name", "register", &format!("n{number}"), &value, "--for", "1h"])
    };
    let trouble = || cluster.status(2)["trouble"].as_str().map(str::to_owned);
    let mut count = 0;
    let until = Instant::now() + PATIENCE;
    while trouble().is_none() {
        assert!(Instant::now() < until, "{count} changes did not fill the disk");
        succeed(&register(count));
        count += 1;
    }
    succeed(&register(count));
    let text = trouble().unwrap_or_default();
    std::fs::remove_file(&full).unwrap();
    let until = Instant::now() + PATIENCE;
    while trouble().is_some() || names(&cluster, 2).len() != count + 1 {
        assert!(Instant::now() < until, "{:?} after {text}", trouble());
        std::thread::sleep(Duration::from_millis(100));
    }
    succeed(&cluster.command(2, &["token", "new"]));
    drop(cluster);
}
