//! Raw TCP between two processes over loopback: what the network itself takes, with nothing of Banyan on top.
//!
//! A request is 64 bytes, the first sixteen of which say how many bytes to answer and in all, as a node's
//! request for a page is a small frame that a larger one answers.

use super::processes::{self, Finished, Launch, On, hold};
use super::program::{clock_cost, print_quantiles};
use super::session::Session;
use anyhow::Context;
use rustix::thread::CpuSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const REQUEST: usize = 64;
/// Bytes given to or taken from the socket at a time in a stream.
const PIECE: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(60);

/// A server in a process of its own; killed when dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(processors: Option<&CpuSet>) -> anyhow::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command.args(["bench-program", "tcp-server"]).stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.spawn().context("starting the raw TCP server")?;
        let mut server = Self { child, port: 0 };
        if let Some(processors) = processors {
            hold(server.child.id() as i32, processors);
        }
        let output = server.child.stdout.take().context("the raw TCP server has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        server.port = line.trim().parse().with_context(|| format!("the raw TCP server printed {line:?}"))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which processors the two sides of a measure run on.
#[derive(Clone, Copy)]
pub(crate) struct Sides {
    /// The asking side, as a node with the thread; `None` for all.
    pub(crate) asking: Option<CpuSet>,
    /// The answering side, as the home node.
    pub(crate) answering: Option<CpuSet>,
}

fn client(session: &mut Session, sides: &Sides, words: &[&str]) -> anyhow::Result<Finished> {
    let server = Server::start(sides.answering.as_ref())?;
    let port = server.port.to_string();
    let mut all = vec!["/proc/self/exe", "bench-program", words[0], port.as_str()];
    all.extend(&words[1..]);
    processes::run(Launch {
        words: all.into_iter().map(str::to_owned).collect(),
        on: On::Nothing,
        processors: sides.asking,
        run: session.next_run(),
        place: None,
        deadline: DEADLINE,
    })
}

/// Half of the round trips of 64 bytes there and `reply` bytes back take less than this many microseconds.
pub(crate) fn round_trip(
    session: &mut Session,
    sides: &Sides,
    count: usize,
    reply: usize,
) -> anyhow::Result<f64> {
    let finished = client(session, sides, &["tcp-client", &count.to_string(), &reply.to_string()])?;
    finished.numbers()?.get("p50").copied().context("no median")
}

/// Seconds that a stream takes.
pub(crate) fn stream(session: &mut Session, sides: &Sides, megabytes: usize) -> anyhow::Result<f64> {
    let finished = client(session, sides, &["tcp-stream", &megabytes.to_string()])?;
    finished.numbers()?.get("seconds").copied().context("no time")
}

/// The program of the server: answers one connection.
pub(crate) fn serve() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut request = [0; REQUEST];
    let bytes = vec![7_u8; PIECE];
    while stream.read_exact(&mut request).is_ok() {
        let mut length = [0; 8];
        length.copy_from_slice(&request[..8]);
        let mut left = u64::from_le_bytes(length) as usize;
        while left > 0 {
            let piece = left.min(PIECE);
            stream.write_all(&bytes[..piece])?;
            left -= piece;
        }
    }
    Ok(())
}

fn connect(port: u16) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    Ok(stream)
}

fn request(length: usize) -> [u8; REQUEST] {
    let mut request = [0; REQUEST];
    request[..8].copy_from_slice(&(length as u64).to_le_bytes());
    request
}

/// The program of the asking side.
pub(crate) fn ask(port: u16, count: usize, reply: usize) -> anyhow::Result<()> {
    let mut stream = connect(port)?;
    let request = request(reply);
    let mut buffer = vec![0; reply];
    let mut times = vec![Duration::ZERO; count];
    for time in &mut times {
        let begin = Instant::now();
        stream.write_all(&request)?;
        stream.read_exact(&mut buffer)?;
        *time = begin.elapsed();
    }
    print_quantiles(times, clock_cost());
    Ok(())
}

/// The program of the side that takes in a stream.
pub(crate) fn take(port: u16, megabytes: usize) -> anyhow::Result<()> {
    let mut stream = connect(port)?;
    let mut buffer = vec![0; PIECE];
    let mut left = megabytes << 20;
    let begin = Instant::now();
    stream.write_all(&request(left))?;
    while left > 0 {
        let received = stream.read(&mut buffer)?;
        anyhow::ensure!(received > 0, "the stream ended early");
        left -= received.min(left);
    }
    println!("seconds {}", begin.elapsed().as_secs_f64());
    Ok(())
}
