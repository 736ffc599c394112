//! The bridge from HTTP/1.1 to HTTP/2 as a program, for clients that are programs of their own.
//!
//! `bridge HOST:PORT` listens on a port of the loopback interface, and says so as `http://127.0.0.1:PORT`.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> io::Result<()> {
    let address: SocketAddr = std::env::args()
        .nth(1)
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| io::Error::other("usage: bridge HOST:PORT"))?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            match TcpStream::connect(address).await {
                Ok(server) => test_support::bridge::serve(client, server).await,
                Err(error) => eprintln!("cannot connect to {address}: {error}"),
            }
        });
    }
}
