//! A byte relay between two processes, which can lose what the server says.
//!
//! In: connections. Out: the same bytes, both ways, until it is told otherwise; it understands none of them.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::Context as _;

/// A relay in front of one server.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    swallowing: AtomicBool,
    swallowed: AtomicUsize,
    ended: AtomicBool,
    links: Mutex<Vec<TcpStream>>,
}

impl Relay {
    /// In front of `https://localhost:PORT`.
    pub fn to(url: &str) -> anyhow::Result<Self> {
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
        let server =
            SocketAddr::from((Ipv4Addr::LOCALHOST, port.with_context(|| format!("no port in {url}"))?));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a relay")?;
        let (address, state) = (listener.local_addr()?, Arc::<State>::default());
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.ended.load(Ordering::SeqCst) {
                    return;
                }
                // a server that is away is a link that is closed at once
                let _refused = shared.link(client, server);
            }
        });
        Ok(Self { address, state })
    }

    /// Where it listens, under the name in the server's certificate.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// From now on, what the server says goes nowhere.
    pub fn swallow_answers(&self) {
        self.state.swallowing.store(true, Ordering::SeqCst);
    }

    /// How many bytes of the server's went nowhere since the last cut.
    #[must_use]
    pub fn swallowed(&self) -> usize {
        self.state.swallowed.load(Ordering::SeqCst)
    }

    /// Cuts every link; those that are made from now on work.
    pub fn cut(&self) {
        for link in self.state.links().drain(..) {
            let _already_closed = link.shutdown(Shutdown::Both);
        }
        self.state.swallowing.store(false, Ordering::SeqCst);
        self.state.swallowed.store(0, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // wakes the listening thread, which then sees the end
        let _gone = TcpStream::connect(self.address);
    }
}

impl State {
    fn links(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn link(self: &Arc<Self>, client: TcpStream, server: SocketAddr) -> io::Result<()> {
        let server = TcpStream::connect(server)?;
        self.links().extend([client.try_clone()?, server.try_clone()?]);
        let (from_client, to_server) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || copy(from_client, to_server, |_| true));
        let state = self.clone();
        thread::spawn(move || {
            copy(server, client, |bytes| {
                let swallowing = state.swallowing.load(Ordering::SeqCst);
                if swallowing {
                    state.swallowed.fetch_add(bytes, Ordering::SeqCst);
                }
                !swallowing
            });
        });
        Ok(())
    }
}

/// Copies until either side ends, then ends both. `passes` decides about each piece.
fn copy(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(usize) -> bool) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(bytes @ 1..) = from.read(&mut buffer) {
        if passes(bytes) && to.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _already_closed = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
