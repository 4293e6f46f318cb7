//! A small TCP proxy that can be told to misbehave: the network between a node and its database.
//!
//! Fault tests point a node's store address at [`Proxy::addr`] and then cut, delay, freeze or tear
//! the connections, tear the next one after a number of bytes so that the answer to a commit is
//! lost, or mute those over which a word has gone, so that one session dies without a sign while
//! the others live. It copies bytes and knows nothing of the protocol. Each proxy runs on a thread of its own,
//! so that a test may also use it from a plain program.
#![allow(clippy::disallowed_methods, reason = "delays real bytes on real connections")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

/// How long a copying thread waits for bytes before it looks at its orders again.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Orders {
    refuse: AtomicBool,
    freeze: AtomicBool,
    delay_ms: AtomicU64,
    /// Bytes from the server that may still pass before every connection is torn; negative: no limit.
    budget: AtomicI64,
    /// Connections over which a client sends this are marked.
    word: Mutex<Vec<u8>>,
    marks: Mutex<Vec<Weak<Mark>>>,
    stop: AtomicBool,
    accepted: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// What is known of one connection.
#[derive(Default)]
struct Mark {
    /// The word watched for has gone over it.
    spoken: AtomicBool,
    /// Nothing passes any more.
    muted: AtomicBool,
}

/// A running proxy. Dropping it closes all its connections.
pub struct Proxy {
    addr: SocketAddr,
    orders: Arc<Orders>,
}

impl Proxy {
    /// Listens on a free loopback port and passes everything on to `upstream`.
    pub fn start(upstream: SocketAddr) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let addr = listener.local_addr()?;
        let orders = Arc::new(Orders { budget: AtomicI64::new(-1), ..Orders::default() });
        let theirs = orders.clone();
        thread::Builder::new().name("proxy".into()).spawn(move || accept(&listener, upstream, &theirs))?;
        Ok(Proxy { addr, orders })
    }

    /// Where to connect instead of the upstream address.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Tears all connections and refuses new ones until [`Proxy::heal`].
    pub fn cut(&self) {
        self.orders.refuse.store(true, Ordering::SeqCst);
        self.tear();
    }

    /// Tears the connections that are open now; new ones are welcome.
    pub fn tear(&self) {
        for stream in self.orders.open.lock().expect("proxy lock").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops passing bytes, without closing anything: a half-open network.
    pub fn freeze(&self) {
        self.orders.freeze.store(true, Ordering::SeqCst);
    }

    /// Holds every piece of data back for this long, in both directions.
    pub fn delay(&self, by: Duration) {
        self.orders.delay_ms.store(by.as_millis() as u64, Ordering::SeqCst);
    }

    /// Lets this many more bytes of the server's answers through, then tears every connection once.
    pub fn tear_after(&self, bytes: u32) {
        self.orders.budget.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Watches for a word in what clients send from now on: see [`Proxy::mute`].
    pub fn watch(&self, word: &str) {
        *self.orders.word.lock().expect("proxy lock") = word.as_bytes().to_vec();
    }

    /// Mutes the connections over which the word watched for has gone, for as long as they live:
    /// nothing passes in either direction, and nothing is closed. How many they are.
    pub fn mute(&self) -> usize {
        let marks = self.orders.marks.lock().expect("proxy lock");
        let spoken = marks.iter().filter_map(Weak::upgrade).filter(|m| m.spoken.load(Ordering::SeqCst));
        spoken.filter(|m| !m.muted.swap(true, Ordering::SeqCst)).count()
    }

    /// Behaves again. What was frozen goes on; what was muted stays so.
    pub fn heal(&self) {
        self.orders.refuse.store(false, Ordering::SeqCst);
        self.orders.freeze.store(false, Ordering::SeqCst);
        self.orders.delay_ms.store(0, Ordering::SeqCst);
        self.orders.budget.store(-1, Ordering::SeqCst);
    }

    /// Connections accepted so far: tells a reconnect.
    pub fn accepted(&self) -> u64 {
        self.orders.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::SeqCst);
        self.tear();
        // The accepting thread sleeps in accept: one connection wakes it so that it can leave.
        let _ = TcpStream::connect(self.addr);
    }
}

fn accept(listener: &TcpListener, upstream: SocketAddr, orders: &Arc<Orders>) {
    for client in listener.incoming() {
        if orders.stop.load(Ordering::SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if orders.refuse.load(Ordering::SeqCst) {
            continue;
        }
        let Ok(server) = TcpStream::connect(upstream) else { continue };
        orders.accepted.fetch_add(1, Ordering::SeqCst);
        let mark = Arc::new(Mark::default());
        orders.marks.lock().expect("proxy lock").push(Arc::downgrade(&mark));
        for (from, to, answers) in [(&client, &server, false), (&server, &client, true)] {
            let _ = from.set_nodelay(true);
            let (Ok(from), Ok(to), Ok(kept)) = (from.try_clone(), to.try_clone(), from.try_clone()) else {
                continue;
            };
            orders.open.lock().expect("proxy lock").push(kept);
            let (orders, mark) = (orders.clone(), mark.clone());
            thread::spawn(move || copy(from, to, answers, &orders, &mark));
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, answers: bool, orders: &Orders, mark: &Mark) {
    let _ = from.set_read_timeout(Some(LOOK));
    let mut buffer = vec![0; 16 << 10];
    let held = || orders.freeze.load(Ordering::SeqCst) || mark.muted.load(Ordering::SeqCst);
    while !orders.stop.load(Ordering::SeqCst) {
        if held() {
            thread::sleep(LOOK);
            continue;
        }
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => break,
        };
        if !answers {
            let word = orders.word.lock().expect("proxy lock");
            if !word.is_empty() && buffer[..n].windows(word.len()).any(|part| part == word.as_slice()) {
                mark.spoken.store(true, Ordering::SeqCst);
            }
        }
        let delay = orders.delay_ms.load(Ordering::SeqCst);
        if delay > 0 {
            thread::sleep(Duration::from_millis(delay));
        }
        // What was read before a freeze must not slip through it.
        while held() && !orders.stop.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
        }
        let mut pass = n;
        if answers && orders.budget.load(Ordering::SeqCst) >= 0 {
            let left = orders.budget.fetch_sub(n as i64, Ordering::SeqCst);
            pass = left.clamp(0, n as i64) as usize;
        }
        if to.write_all(&buffer[..pass]).is_err() {
            break;
        }
        if pass < n {
            orders.budget.store(-1, Ordering::SeqCst);
            for stream in orders.open.lock().expect("proxy lock").drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// A server that answers every byte with the same byte.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut byte = [0; 1];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
                });
            }
        });
        addr
    }

    fn ask(stream: &mut TcpStream, byte: u8) -> std::io::Result<u8> {
        stream.set_read_timeout(Some(Duration::from_millis(400)))?;
        stream.write_all(&[byte])?;
        let mut answer = [0; 1];
        stream.read_exact(&mut answer)?;
        Ok(answer[0])
    }

    #[test]
    fn passes_bytes_and_every_fault_shows() {
        let proxy = Proxy::start(echo()).unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).unwrap();
        assert_eq!(ask(&mut stream, 7).unwrap(), 7);

        proxy.freeze();
        thread::sleep(2 * LOOK);
        let frozen = ask(&mut stream, 8).unwrap_err();
        assert!(matches!(frozen.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{frozen}");
        proxy.heal();
        let mut late = [0; 1];
        stream.read_exact(&mut late).unwrap();
        assert_eq!(late[0], 8);

        proxy.tear_after(1);
        assert_eq!(ask(&mut stream, 9).unwrap(), 9);
        assert!(ask(&mut stream, 10).is_err());
        let mut again = TcpStream::connect(proxy.addr()).unwrap();
        assert_eq!(ask(&mut again, 11).unwrap(), 11);

        proxy.cut();
        assert!(ask(&mut again, 12).is_err());
        let mut refused = TcpStream::connect(proxy.addr()).unwrap();
        assert!(ask(&mut refused, 13).is_err());
        proxy.heal();
        let mut healed = TcpStream::connect(proxy.addr()).unwrap();
        assert_eq!(ask(&mut healed, 14).unwrap(), 14);
        assert_eq!(proxy.accepted(), 3);

        proxy.watch("*");
        let mut other = TcpStream::connect(proxy.addr()).unwrap();
        assert_eq!(ask(&mut other, b'*').unwrap(), b'*');
        assert_eq!((proxy.mute(), proxy.mute()), (1, 0));
        let silent = ask(&mut other, 15).unwrap_err();
        assert!(matches!(silent.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silent}");
        assert_eq!(ask(&mut healed, 16).unwrap(), 16);
    }
}
