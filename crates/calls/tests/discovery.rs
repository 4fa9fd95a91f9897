//! One call site, three ways: workers of this process, a pool of this machine, another node. And
//! what each does when the other end is gone, slow, or talks nonsense.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use banyan_calls::discovery::{SERVE_VARIABLE, WORKERS_VARIABLE};
use banyan_calls::isolated::{through, use_service};
use banyan_calls::service::Configuration;
use banyan_calls::{CallError, Discovery, Ran, Service, isolated};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[isolated(deadline = "10s")]
fn add(a: u64, b: u64) -> u64 {
    a + b
}

#[isolated(deadline = "20s")]
fn checksum(bytes: Vec<u8>) -> (u64, Vec<u8>) {
    let sum = bytes.iter().map(|&byte| u64::from(byte)).sum();
    (sum, bytes.into_iter().rev().collect())
}

#[isolated(deadline = "10s")]
fn fail(how: u32) -> u32 {
    match how {
        // SAFETY: none: this is the crash.
        1 => unsafe { (8 as *mut u32).write_volatile(1) },
        2 => std::process::exit(3),
        3 => panic!("on purpose"),
        _ => {}
    }
    7
}

#[isolated(deadline = "200ms")]
fn hang() -> u32 {
    std::thread::sleep(Duration::from_secs(30));
    0
}

#[isolated(deadline = "5s")]
fn nap(milliseconds: u64) -> u32 {
    std::thread::sleep(Duration::from_millis(milliseconds));
    std::process::id()
}

/// Says in a file that it runs, and does not end in time.
#[isolated(deadline = "20s")]
fn begin(file: String) -> bool {
    let is_written = std::fs::write(file, "").is_ok();
    std::thread::sleep(Duration::from_secs(30));
    is_written
}

#[isolated(deadline = "10s", retry = 3, idempotent)]
fn add_again(a: u64) -> u64 {
    a + 1
}

/// This program, serving.
struct Serving {
    child: Child,
    place: String,
}

impl Serving {
    fn start(place: &str, workers: u32) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env(SERVE_VARIABLE, place)
            .env(WORKERS_VARIABLE, workers.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, place: line.trim().to_owned() }
    }

    fn find(&self) -> Service {
        find(&self.place)
    }

    fn node(&self) -> &str {
        self.place.split_once('=').unwrap().1
    }

    /// Ends it; what it has said on standard error.
    fn said(mut self) -> String {
        self.kill();
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(place: &str) -> Service {
    Service::find(&place.parse().unwrap(), &Configuration::default()).unwrap()
}

fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

fn named(test: &str) -> Serving {
    Serving::start(&format!("named:{}=127.0.0.1:0", unique(test)), 4)
}

fn system(test: &str, workers: u32) -> Serving {
    Serving::start(&format!("system:{}", unique(test)), workers)
}

fn noise(length: usize) -> Vec<u8> {
    let mut seed = 9_u64;
    (0..length)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        })
        .collect()
}

/// What one program with these calls sees.
fn program() -> Vec<String> {
    let mut seen = Vec::new();
    let mut note = |text: String| seen.push(text);
    for number in 0..20 {
        note(format!("{:?}", add(number, 40)));
    }
    for length in [0, 1, 3000, 5000, 300_000] {
        note(format!(
            "{:?}",
            checksum(noise(length)).map(|(sum, bytes)| (sum, bytes.len(), bytes.first().copied()))
        ));
    }
    note(format!(
        "{:?}",
        fail(1).map_err(|error| match error {
            // Where the instruction lies is the process's own affair.
            CallError::Crashed { signal, address, ran, .. } =>
                CallError::Crashed { signal, address, instruction: 0, ran },
            error => error,
        })
    ));
    for how in [0, 2, 0, 3, 0] {
        note(format!("{:?}", fail(how)));
    }
    note(format!("{:?}", hang()));
    note(format!("{:?}", add(1, 1)));
    seen
}

#[test]
fn all_three_ways_give_the_same_results() {
    let (system, named) = (system("same", 2), named("same"));
    let child = through(&find("child"), program);
    assert!(child[25].contains("signal: 11, address: 8"), "{}", child[25]);
    assert!(
        child[27].contains("Exited { status: 3 }") && child[31].contains("TimedOut { ran: Maybe }"),
        "{child:?}"
    );
    assert_eq!(through(&system.find(), program), child);
    assert_eq!(through(&named.find(), program), child);
}

/// Four calls at once, each in its own worker; how many workers there were.
fn at_once(service: &Service) -> usize {
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        let nap = || {
            barrier.wait();
            through(service, || nap(200).unwrap())
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(nap)).collect();
        let workers = threads.into_iter().map(|thread| thread.join().unwrap());
        workers.collect::<std::collections::BTreeSet<u32>>().len()
    })
}

#[test]
fn there_are_as_many_workers_as_asked_for_once_they_are_needed() {
    for spares in [0, 1, 3] {
        let configuration = Configuration { workers: 4, spares, ..Configuration::default() };
        let service = Service::find(&Discovery::Child, &configuration).unwrap();
        assert_eq!(at_once(&service), 4, "{spares} spares");
        // As many stand ready beside those in use as were asked for.
        let ready = || service.with_connection(|service| service.worker_processes().len()).unwrap() - 4;
        let deadline = Instant::now() + Duration::from_secs(5);
        while ready() != spares as usize {
            assert!(Instant::now() < deadline, "{} of {spares} spares", ready());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_pool_is_shared_evenly_and_clients_come_and_go() {
    let serving = system("shared", 4);
    let first = serving.find();
    let share = |service: &Service| service.with_connection(banyan_calls::Connection::workers).unwrap();
    assert_eq!(share(&first), 4);
    let second = serving.find();
    assert_eq!((share(&first), share(&second)), (2, 2));
    // Another process altogether.
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_client_in_a_process_of_its_own", "--nocapture"])
        .env(banyan_calls::discovery::FIND_VARIABLE, &serving.place)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // Both at once, each with more threads than workers.
    std::thread::scope(|scope| {
        for service in [&first, &second] {
            for thread in 0..4_u64 {
                scope.spawn(move || {
                    through(service, || {
                        for number in 0..50 {
                            assert_eq!(add(thread, number), Ok(thread + number));
                        }
                        assert!(fail(1).is_err());
                    });
                });
            }
        }
    });
    // No more workers than the share serve one client.
    let running = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| through(&second, || nap(20).unwrap()))).collect();
        let mut processes: Vec<u32> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        processes.sort_unstable();
        processes.dedup();
        processes.len()
    });
    assert!(running <= 2, "{running} workers");
    drop(second);
    let deadline = Instant::now() + Duration::from_secs(5);
    while share(&first) != 4 {
        assert!(Instant::now() < deadline, "the share of a client that left goes to the others");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Does something only when the test above has named a service.
#[test]
fn a_client_in_a_process_of_its_own() {
    if let Ok(place) = std::env::var(banyan_calls::discovery::FIND_VARIABLE) {
        assert_eq!(add(20, 22), Ok(42));
        // The first call has chosen.
        assert!(!use_service(find(&place)));
        assert!(matches!(fail(1), Err(CallError::Crashed { .. })));
        assert_eq!(fail(0), Ok(7));
    }
}

/// Each a process, more than the service has workers for.
#[test]
fn many_clients_of_a_pool_are_all_served() {
    const CLIENTS: usize = 48;
    let serving = system("many", 4);
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_client_in_a_process_of_its_own", "--nocapture"])
            .env(banyan_calls::discovery::FIND_VARIABLE, &serving.place)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let clients: Vec<Child> = (0..CLIENTS).map(|_| start()).collect();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

/// More connections than a service keeps, each of which stays open when its client has nothing to ask.
#[test]
fn idle_clients_of_a_named_service_keep_no_other_out() {
    const CLIENTS: u64 = 300;
    let serving = named("idle");
    let clients: Vec<Service> = (0..CLIENTS).map(|_| serving.find()).collect();
    for round in 0..2 {
        for (number, client) in (0..).zip(&clients) {
            assert_eq!(through(client, || add(number, round)), Ok(number + round), "client {number}");
        }
    }
}

#[test]
fn many_clients_of_a_named_service_at_once_are_all_served() {
    const CLIENTS: u64 = 48;
    let serving = named("at-once");
    let start = std::sync::Barrier::new(CLIENTS as usize);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (serving, start) = (&serving, &start);
            scope.spawn(move || {
                let client = serving.find();
                start.wait();
                for round in 0..20 {
                    assert_eq!(through(&client, || add(number, round)), Ok(number + round));
                }
            });
        }
    });
}

#[test]
fn a_pool_that_is_killed_is_an_error_and_can_be_started_anew() {
    let mut serving = system("killed", 2);
    let service = serving.find();
    through(&service, || assert_eq!(add(1, 2), Ok(3)));
    let processes = service.with_connection(banyan_calls::Connection::worker_processes).unwrap();
    serving.kill();
    let start = Instant::now();
    through(&service, || {
        // The worker and the spare may be met while they end.
        let mut last = add(1, 2);
        while !matches!(last, Err(CallError::NoService(_))) {
            assert!(start.elapsed() < Duration::from_secs(5), "workers end with their service: {last:?}");
            last = add(1, 2);
        }
    });
    for process in processes {
        while !common::processes::has_ended(process) {
            assert!(start.elapsed() < Duration::from_secs(5), "worker {process} is left");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let again = Serving::start(&serving.place, 2);
    through(&service, || assert_eq!(add(1, 2), Ok(3), "the same service value finds it"));
    drop(again);
    assert!(matches!(
        Service::find(&Discovery::System("absent".into()), &Configuration::default()),
        Err(CallError::NoService(reason)) if reason.contains("banyan call serve")
    ));
}

/// Kills the babysitter during a call, which ends with an error, and makes calls behind it.
fn a_killed_babysitter_is_replaced(service: &Service, babysitter: impl Fn() -> u32) {
    through(service, || assert_eq!(add(1, 2), Ok(3)));
    std::thread::scope(|scope| {
        let file = common::directory().join(unique(&format!("begun-{}", babysitter())));
        let name = file.display().to_string();
        let during = scope.spawn(|| through(service, || begin(name)));
        let start = Instant::now();
        while !file.exists() {
            assert!(start.elapsed() < Duration::from_secs(10), "the call begins");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::remove_file(file).unwrap();
        common::processes::send(babysitter(), rustix::process::Signal::KILL);
        let during = during.join().unwrap();
        assert!(matches!(during, Err(CallError::Crashed { ran: Ran::Maybe, .. })), "{during:?}");
    });
    through(service, || {
        assert_eq!(add(3, 4), Ok(7));
        assert_eq!(checksum(vec![1, 2, 3]), Ok((6, vec![3, 2, 1])));
    });
}

#[test]
fn calls_outlast_their_babysitter() {
    let service = find("child");
    let babysitter = || service.with_connection(banyan_calls::Connection::babysitter_process).unwrap();
    for _ in 0..3 {
        a_killed_babysitter_is_replaced(&service, babysitter);
    }
}

#[test]
fn a_named_service_outlasts_its_babysitter() {
    let serving = named("babysitter");
    let service = serving.find();
    let babysitter = || {
        let services = banyan_calls::monitor::services();
        services.iter().find(|service| service.caller == serving.child.id()).unwrap().babysitter
    };
    for _ in 0..3 {
        a_killed_babysitter_is_replaced(&service, babysitter);
    }
}

#[test]
fn nonsense_on_the_pools_socket_hurts_no_client() {
    let serving = system("nonsense", 2);
    let name = format!("banyan-calls/{}/{}", rustix::process::geteuid().as_raw(), unique("nonsense"));
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let mut silent = Vec::new();
    for round in 0..40_usize {
        let mut socket = UnixStream::connect_addr(&address).unwrap();
        match round % 4 {
            0 => socket.write_all(&noise(round * 10 + 1)).unwrap(),
            1 => socket.write_all(b"bncalls2").unwrap(),
            2 => {
                // The right words with a file that is no window.
                let file = std::fs::File::open("/proc/self/exe").unwrap();
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                let files = [file.as_fd()];
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&files)));
                let greeting = [IoSlice::new(b"bncalls2")];
                sendmsg(&socket, &greeting, &mut ancillary, SendFlags::empty()).unwrap();
            }
            _ => silent.push(socket),
        }
    }
    through(&serving.find(), || assert_eq!(add(40, 2), Ok(42)));
}

#[test]
fn connections_are_reused_and_known_bytes_are_not_sent_again() {
    let serving = named("reused");
    let service = serving.find();
    let remote = service.remote().unwrap();
    through(&service, || {
        for number in 0..50 {
            assert_eq!(add(number, 1), Ok(number + 1));
        }
        assert_eq!(remote.idle_connections(), 1);
        let mut bytes = noise(1 << 20);
        let expected = bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        let cost = |bytes: &Vec<u8>| {
            let before = remote.traffic();
            let (sum, reversed) = checksum(bytes.clone()).unwrap();
            assert!(reversed.iter().rev().eq(bytes));
            let after = remote.traffic();
            (sum, after.0 - before.0, after.1 - before.1)
        };
        let (sum, sent, received) = cost(&bytes);
        assert!(sum == expected && sent > 1 << 20 && received > 1 << 20);
        let (sum, sent, received) = cost(&bytes);
        assert_eq!(sum, expected);
        assert!(sent < 10_000 && received < 10_000, "{sent} bytes sent, {received} received");
        bytes[500_000] ^= 0xff;
        let (_, sent, received) = cost(&bytes);
        assert!(sent < 10_000 && received < 10_000, "{sent} bytes sent, {received} received");
        // Zeroes shrink: sent by reference and compressed.
        let (_, sent, _) = cost(&vec![0; 8 << 20]);
        assert!(sent < 60_000, "{sent} bytes for 8 MiB of zeroes");
    });
}

#[test]
fn a_service_without_a_host_listens_to_this_machine_only() {
    let serving = Serving::start(&format!("named:{}=:0", unique("near")), 1);
    assert!(serving.node().starts_with("127.0.0.1:"), "{}", serving.place);
    let port = serving.node().split_once(':').unwrap().1;
    let near = find(&format!("named:{}=:{port}", unique("near")));
    through(&near, || assert_eq!(add(40, 2), Ok(42)));
    assert_eq!(serving.said(), "");
    let far = Serving::start(&format!("named:{}=0.0.0.0:0", unique("far")), 1);
    let said = far.said();
    assert!(said.contains("neither encrypted nor authenticated"), "{said}");
}

#[test]
fn a_node_that_is_gone_is_passed_over_for_the_next() {
    let mut first = named("next");
    let second = Serving::start(&format!("named:{}=127.0.0.1:0", unique("next")), 2);
    let place = format!("named:{}={},{}", unique("next"), first.node(), second.node());
    let service = find(&place);
    through(&service, || {
        assert_eq!(add_again(1), Ok(2));
        // Killed in the middle of a call, which may have run and is not made again.
        std::thread::scope(|scope| {
            let service = &service;
            let call = scope.spawn(move || through(service, || nap(3000)));
            std::thread::sleep(Duration::from_millis(200));
            first.kill();
            let error = call.join().unwrap().unwrap_err();
            assert!(matches!(error, CallError::Disconnected { ran: Ran::Maybe, .. }), "{error:?}");
        });
        for number in 0..5 {
            assert_eq!(add_again(number), Ok(number + 1));
        }
    });
    drop(second);
    through(&service, || {
        let error = add(1, 1).unwrap_err();
        assert!(matches!(error, CallError::NoService(_) | CallError::Disconnected { .. }), "{error:?}");
    });
}

#[test]
fn a_server_refuses_nonsense_and_goes_on() {
    let serving = named("refuses");
    let service = serving.find();
    for round in 0..30_usize {
        let mut socket = TcpStream::connect(serving.node()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut bytes = noise(round * 7 + 16);
        if round % 2 == 0 {
            // A good header with a length that lies.
            bytes[..16]
                .copy_from_slice(&[0x11, 0xca, 1, 0, 0xff, 0xff, 0xff, 4, 0xff, 0xff, 0xff, 4, 0, 0, 0, 0]);
        }
        socket.write_all(&bytes).unwrap();
        let _ = socket.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        // Closed, perhaps with a word why; or reset, as there were bytes that were not read.
        let _ = socket.read_to_end(&mut answer);
    }
    let wrong = find(&format!("named:other={}", serving.node()));
    through(&wrong, || {
        assert!(
            matches!(add(1, 1), Err(CallError::NoService(reason)) if reason.contains("it serves refuses"))
        );
    });
    through(&service, || assert_eq!(add(40, 2), Ok(42)));
}

#[test]
fn a_half_closed_connection_still_gets_its_answer() {
    use banyan_calls::stream::{CallHead, Receiver, Sender, Stream};
    let serving = named("half");
    let socket = TcpStream::connect(serving.node()).unwrap();
    let mut stream = Stream::new(socket.try_clone().unwrap()).unwrap();
    let by = Instant::now() + Duration::from_secs(10);
    let name = unique("half");
    let mut hello = vec![2, name.len() as u8];
    hello.extend(name.as_bytes());
    stream.send(1, &hello, by).unwrap();
    assert_eq!(stream.receive(by, Duration::from_secs(5)).unwrap().0, 2);
    let function = banyan_calls::registry::number_of(concat!(module_path!(), "::add(a:u64,b:u64)->u64"));
    let head = CallHead { function, deadline: Duration::from_secs(5), cpu_limit: None, retries: 0 };
    let mut body = Vec::new();
    head.encode(&mut body);
    let arguments = [2, 40];
    Sender::default().put(&arguments, &mut body);
    stream.send(3, &body, by).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let (kind, body) = stream.receive(by, Duration::from_secs(5)).unwrap();
    assert_eq!(kind, 4);
    assert_eq!(Receiver::default().take(&mut &body[..], 100).unwrap(), [42]);
    assert!(stream.receive(by, Duration::from_secs(5)).is_err(), "then it is closed");
}

/// A server that is none: does `what` with each connection.
fn fake(what: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().take(20).flatten() {
            std::thread::spawn(move || what(socket));
        }
    });
    address
}

/// A node that answers, but only that it cannot serve: what it did not run the next one runs.
#[test]
fn a_node_that_only_answers_errors_is_passed_over_for_the_next() {
    let errors: fn(TcpStream) = |mut socket| {
        let mut bytes = [0; 4096];
        let _ = socket.read(&mut bytes);
        let _ = socket.write_all(&[0x11, 0xca, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        while socket.read(&mut bytes).is_ok_and(|count| count > 0) {
            let body = banyan_calls::stream::encode_error(&CallError::NoService("it is broken".into()));
            let length = (body.len() as u32).to_le_bytes();
            let mut frame = vec![0x11, 0xca, 5, 0];
            frame.extend([length, length, [0; 4]].concat());
            frame.extend(body);
            let _ = socket.write_all(&frame);
        }
    };
    let good = named("errors");
    let broken = fake(errors);
    let service = find(&format!("named:{}={broken},{}", unique("errors"), good.node()));
    through(&service, || {
        for number in 0..5 {
            assert_eq!(add(number, 1), Ok(number + 1));
        }
        // One that may have run is not made again.
        assert!(matches!(fail(1), Err(CallError::Crashed { .. })));
    });
    // Where all are broken the last one's reason is reported, in time.
    let service = find(&format!("named:{}={broken},{}", unique("errors"), fake(errors)));
    let error = through(&service, || add(1, 1)).unwrap_err();
    assert!(matches!(&error, CallError::NoService(reason) if reason.contains("it is broken")), "{error:?}");
}

#[test]
fn a_client_outlasts_servers_that_are_slow_or_lie() {
    const HELLO_BYTES: usize = 16 + 2 + 4;
    let options_time = Duration::from_millis(200);
    let silent: fn(TcpStream) = |mut socket| {
        let mut bytes = [0; 64];
        while socket.read(&mut bytes).is_ok_and(|count| count > 0) {}
    };
    let welcome_then_silent: fn(TcpStream) = |mut socket| {
        let mut bytes = [0; HELLO_BYTES];
        let _ = socket.read_exact(&mut bytes);
        let _ = socket.write_all(&[0x11, 0xca, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        let mut rest = [0; 64];
        while socket.read(&mut rest).is_ok_and(|count| count > 0) {}
    };
    let dripping: fn(TcpStream) = |mut socket| {
        let mut bytes = [0; HELLO_BYTES];
        let _ = socket.read_exact(&mut bytes);
        for byte in [0x11, 0xca, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0] {
            std::thread::sleep(Duration::from_millis(100));
            if socket.write_all(&[byte]).is_err() {
                return;
            }
        }
    };
    for (what, ran) in [(silent, Ran::No), (welcome_then_silent, Ran::Maybe), (dripping, Ran::No)] {
        let service = find(&format!("named:fake={}", fake(what)));
        let start = Instant::now();
        let error = through(&service, hang).unwrap_err();
        assert!(start.elapsed() < options_time + Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(error.ran(), ran, "{error:?}");
    }
    let garbage: fn(TcpStream) = |mut socket| {
        let mut bytes = [0; HELLO_BYTES];
        let _ = socket.read_exact(&mut bytes);
        let _ = socket.write_all(&noise(200));
    };
    let lying: fn(TcpStream) = |mut socket| {
        let mut bytes = [0; HELLO_BYTES];
        let _ = socket.read_exact(&mut bytes);
        let _ = socket.write_all(&[0x11, 0xca, 2, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        let mut call = [0; 16];
        let _ = socket.read_exact(&mut call);
        // A result that claims to be a megabyte of chunks never sent.
        let mut body = (1_u64 << 20).to_le_bytes().to_vec();
        body.extend([1; 3000]);
        let length = (body.len() as u32).to_le_bytes();
        let mut frame = vec![0x11, 0xca, 4, 0];
        frame.extend([length, length, [0; 4]].concat());
        frame.extend(body);
        let _ = socket.write_all(&frame);
        std::thread::sleep(Duration::from_millis(200));
    };
    for what in [garbage, lying] {
        let service = find(&format!("named:fake={}", fake(what)));
        let error = through(&service, || add(1, 1)).unwrap_err();
        assert!(matches!(error, CallError::NoService(_) | CallError::Disconnected { .. }), "{error:?}");
    }
}
