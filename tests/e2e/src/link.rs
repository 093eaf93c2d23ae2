//! The way from one program to another, which a test can cut or stall.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Everything.
    Open,
    /// Everything, so much later.
    Delayed(Duration),
    /// Nothing, and connections stay.
    Stalled,
    /// Nothing: connections end, new ones end at once.
    Cut,
}

/// A relay in front of a server; it ends when this is dropped.
#[derive(Debug)]
pub struct Link {
    base: String,
    way: Arc<watch::Sender<Way>>,
    relay: JoinHandle<()>,
}

impl Link {
    /// A way to the server at `http://host:port`.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn to(server: &str) -> Self {
        Self::between("127.0.0.1", server).await
    }

    /// A way from a port of this machine's address `near` to the server at
    /// `http://host:port`.
    ///
    /// # Panics
    ///
    /// If no port can be had.
    pub async fn between(near: &str, server: &str) -> Self {
        let server = server.trim_start_matches("http://").trim_end_matches('/');
        let listener = TcpListener::bind((near, 0))
            .await
            .expect("a port of the address is free");
        let address = listener.local_addr().expect("a listener has an address");
        let way = Arc::new(watch::Sender::new(Way::Open));
        Self {
            base: format!("http://{address}"),
            relay: tokio::spawn(relay(listener, server.to_owned(), way.clone())),
            way,
        }
    }

    /// Its near end, `http://host:port`.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Ends all connections and lets none through.
    pub fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Lets nothing through, and no end notices by itself.
    pub fn stall(&self) {
        self.way.send_replace(Way::Stalled);
    }

    /// Lets everything through, each piece so much later.
    pub fn delay(&self, by: Duration) {
        self.way.send_replace(Way::Delayed(by));
    }

    /// Lets everything through again, at once.
    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn relay(listener: TcpListener, server: String, way: Arc<watch::Sender<Way>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let (server, mut cut) = (server.clone(), way.subscribe());
        connections.spawn(async move {
            let passing = pass(near, &server, cut.clone());
            tokio::select! {
                _ = cut.wait_for(|way| *way == Way::Cut) => {}
                () = passing => {}
            }
        });
    }
}

async fn pass(near: TcpStream, server: &str, way: watch::Receiver<Way>) {
    let Ok(far) = TcpStream::connect(server).await else {
        return;
    };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(
        pump(near_read, far_write, way.clone()),
        pump(far_read, near_write, way)
    );
}

/// One direction; its end is passed on.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let Ok(now) = way
            .wait_for(|way| *way != Way::Stalled)
            .await
            .map(|way| *way)
        else {
            return;
        };
        if let Way::Delayed(by) = now {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;

    use super::*;
    use crate::{Answer, HttpClient, Origin};

    #[tokio::test]
    async fn nothing_passes_a_cut_way_until_it_is_mended() {
        let origin = Origin::start().await;
        origin.set("/a", Answer::ok("v1"));
        let link = Link::to(origin.url()).await;
        let client = HttpClient::new(link.url());
        assert_eq!(client.get("/a").await.text(), "v1");
        link.cut();
        let refused = client.try_send(Method::GET, "/a", &[], Bytes::new()).await;
        assert!(refused.is_err(), "{refused:?}");
        link.mend();
        assert_eq!(client.get("/a").await.text(), "v1");
    }

    #[tokio::test]
    async fn what_waits_on_a_stalled_way_arrives_when_it_is_mended() {
        let origin = Origin::start().await;
        origin.set("/a", Answer::ok("v1"));
        let link = Link::to(origin.url()).await;
        let client = HttpClient::new(link.url());
        assert_eq!(client.get("/a").await.text(), "v1");
        link.stall();
        let asked = tokio::spawn(async move { client.get("/a").await.text() });
        // Nothing can be seen of what does not pass; the origin hears it only now.
        link.mend();
        assert_eq!(asked.await.unwrap(), "v1");
        assert_eq!(origin.count("/a"), 2);
    }
}
