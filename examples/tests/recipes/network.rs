//! A client over non-blocking sockets, and names that are resolved outside.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use crossmist::{Duplex, func};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::recipe;
use crate::support::Case;

pub(crate) const CASES: &[Case] = cases![
    a_client_reaches_the_port_of_its_server_and_no_other needs Ports,
    names_are_resolved_by_the_program needs Ports,
];

/// A server that answers two requests, and its address.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let asked = lines.next().unwrap().unwrap();
            lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
            let body = format!("you asked: {asked}");
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

/// Asks for a page over sockets that never block.
fn fetch(from: &[SocketAddr], host: &str) -> std::io::Result<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build()?.block_on(async {
        let mut stream = TcpStream::connect(from).await?;
        let request = format!("GET /page HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let body = answer.split_once("\r\n\r\n");
        Ok(body.map(|(_, body)| body.to_owned()).unwrap_or_default())
    })
}

#[func(sandbox = dynamic)]
fn fetches(from: Vec<SocketAddr>) -> Result<String, Option<i32>> {
    fetch(&from, "example.org").map_err(|error| error.raw_os_error())
}

const ANSWER: &str = "you asked: GET /page HTTP/1.1";

fn a_client_reaches_the_port_of_its_server_and_no_other() {
    let policy = recipe("An HTTP client");
    let (own, other) = (server(), server());
    let reach = |address: SocketAddr| {
        let builder = fetches.sandbox(&policy);
        let builder = builder.bind("server", own.port().to_string());
        builder.run(vec![address]).unwrap()
    };
    assert_eq!(reach(own), Ok(ANSWER.to_owned()));
    assert_eq!(reach(other), Err(Some(libc::EACCES)));
    // The control.
    assert_eq!(fetch(&[other], "example.org").unwrap(), ANSWER);
}

/// Asks the program for the addresses of a name, and resolves nothing by itself.
#[func(sandbox = dynamic)]
fn fetches_by_name(
    mut names: Duplex<String, Vec<SocketAddr>>,
    host: String,
) -> Result<String, String> {
    let addresses = names.request(&host).map_err(|error| error.to_string())?;
    fetch(&addresses, &host).map_err(|error| error.to_string())
}

/// Resolves the names that a child may reach.
fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    match host {
        "localhost" => (host, port).to_socket_addrs().unwrap().collect(),
        _ => Vec::new(),
    }
}

fn names_are_resolved_by_the_program() {
    let policy = recipe("Names are resolved outside");
    let server = server();
    let ask = |host: &str| {
        let (mut ours, theirs) = crossmist::duplex().unwrap();
        let builder = fetches_by_name.sandbox(&policy);
        let builder = builder.bind("server", server.port().to_string());
        let child = builder.spawn(theirs, host.to_owned()).unwrap();
        while let Some(name) = ours.recv().unwrap() {
            let addresses: Vec<_> = resolve(&name, server.port());
            ours.send(&addresses).unwrap();
        }
        child.join().unwrap()
    };
    assert_eq!(ask("localhost"), Ok(ANSWER.to_owned()));
    let refused = ask("elsewhere.example");
    assert_eq!(refused, Err("could not resolve to any address".to_owned()));
}
