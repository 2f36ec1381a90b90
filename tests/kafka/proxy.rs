//! A TCP proxy that breaks the network on demand: what is under way stays under way.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Passes on what comes to one address to another, unless it hangs.
pub struct Proxy {
    hangs: Arc<AtomicBool>,
}

impl Proxy {
    /// Listens at `at`, passes on to `to`.
    pub fn start(at: &str, to: &str) -> Proxy {
        let hangs = Arc::new(AtomicBool::new(false));
        let (listener, to, hanging) = (TcpListener::bind(at).unwrap(), to.to_owned(), hangs.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&to)) else { continue };
                pass(client.try_clone().unwrap(), server.try_clone().unwrap(), hanging.clone());
                pass(server, client, hanging.clone());
            }
        });
        Proxy { hangs }
    }

    /// From now on nothing passes, and no connection ends; or things pass again.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::SeqCst);
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, hangs: Arc<AtomicBool>) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count) = from.read(&mut buffer) {
            while hangs.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(5));
            }
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        _ = to.shutdown(Shutdown::Both);
    });
}
