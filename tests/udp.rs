//! UDP by port: which datagrams a child may send and receive, and what is said where no kernel can tell.

mod support;

use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::Duration;

use crossmist::{Error, SandboxPolicy, func};
use support::patience;

fn main() {
    crossmist::init();
    support::main(
        cases![
            datagrams_reach_only_the_ports_that_are_granted needs Datagrams,
            only_ports_that_are_granted_are_bound needs Datagrams,
            a_lent_socket_is_held_to_the_ports_as_well needs Datagrams,
            a_kernel_that_cannot_confine_datagrams_is_refused_by_name,
            a_network_of_its_own_needs_no_such_kernel needs Root,
        ],
        &[],
    );
}

/// Names the ports by variables, since a test takes those that are free.
fn policy(key: &str) -> SandboxPolicy {
    let text = format!(
        "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n\
         [variables]\nport = {{ type = \"port\", required = true }}\n\
         [network]\n{key} = [\"${{port}}\"]\n"
    );
    SandboxPolicy::from_toml("udp", &text).unwrap()
}

fn listener() -> (UdpSocket, u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let time = patience(Duration::from_secs(10));
    socket.set_read_timeout(Some(time)).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

#[track_caller]
fn hears(socket: &UdpSocket, text: &[u8]) {
    let mut bytes = [0; 16];
    let (length, _) = socket.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], text);
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// How sending to each port fails: with an address, and by `connect`.
fn send_to_each(socket: &UdpSocket, ports: &[u16]) -> Vec<[Option<i32>; 2]> {
    let each = ports.iter().map(|port| {
        let to = (Ipv4Addr::LOCALHOST, *port);
        let sent = errno(socket.send_to(b"sent", to));
        let connected = socket.connect(to).and_then(|()| socket.send(b"connected"));
        [sent, errno(connected)]
    });
    each.collect()
}

/// From a port that the kernel chooses, with `bind` and without.
fn send_from_anywhere(ports: &[u16]) -> Vec<[Option<i32>; 2]> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    send_to_each(&socket, ports)
}

#[func]
fn sends_unconfined(ports: Vec<u16>) -> Vec<[Option<i32>; 2]> {
    send_from_anywhere(&ports)
}

#[func(sandbox = dynamic)]
fn sends(ports: Vec<u16>) -> Vec<[Option<i32>; 2]> {
    send_from_anywhere(&ports)
}

fn datagrams_reach_only_the_ports_that_are_granted() {
    let ((granted, port), (other, other_port)) = (listener(), listener());
    let ports = vec![port, other_port];
    // The control: without a sandbox, both are reached.
    let reached = sends_unconfined.run(ports.clone()).unwrap();
    assert_eq!(reached, [[None; 2]; 2]);
    for socket in [&granted, &other] {
        hears(socket, b"sent");
        hears(socket, b"connected");
    }
    let policy = policy("udp_connect");
    let builder = sends.sandbox(&policy);
    let reached = builder.bind("port", port.to_string()).run(ports).unwrap();
    assert_eq!(reached, [[None; 2], [Some(libc::EACCES); 2]]);
    hears(&granted, b"sent");
    hears(&granted, b"connected");
    other.set_nonblocking(true).unwrap();
    let silence = other.recv_from(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), std::io::ErrorKind::WouldBlock);
}

/// How binding each port fails, and how sending does.
fn bind_each(ports: &[u16], to: u16) -> (Vec<Option<i32>>, Option<i32>) {
    let bound = ports
        .iter()
        .map(|port| UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)));
    let mut bound: Vec<_> = bound.collect();
    let sent = match bound.iter().flatten().next() {
        Some(socket) => errno(socket.send_to(b"sent", (Ipv4Addr::LOCALHOST, to))),
        None => Some(0),
    };
    (bound.drain(..).map(errno).collect(), sent)
}

#[func]
fn binds_unconfined(ports: Vec<u16>, to: u16) -> (Vec<Option<i32>>, Option<i32>) {
    bind_each(&ports, to)
}

#[func(sandbox = dynamic)]
fn binds(ports: Vec<u16>, to: u16) -> (Vec<Option<i32>>, Option<i32>) {
    bind_each(&ports, to)
}

fn only_ports_that_are_granted_are_bound() {
    // They are free once their sockets are gone.
    let (one, other) = (listener(), listener());
    let ports = vec![one.1, other.1];
    drop((one, other));
    let (heard, to) = listener();
    let unconfined = binds_unconfined.run(ports.clone(), to).unwrap();
    assert_eq!(unconfined, (vec![None; 2], None));
    hears(&heard, b"sent");
    let policy = policy("udp_bind");
    let builder = binds.sandbox(&policy);
    let port = ports[0].to_string();
    let confined = builder.bind("port", port).run(ports, to).unwrap();
    // It may receive there, and send to nobody.
    let denied = Some(libc::EACCES);
    assert_eq!(confined, (vec![None, denied], denied));
}

#[func(sandbox = dynamic)]
fn sends_from(socket: UdpSocket, ports: Vec<u16>) -> Vec<[Option<i32>; 2]> {
    send_to_each(&socket, &ports)
}

fn a_lent_socket_is_held_to_the_ports_as_well() {
    let ((granted, port), (_other, other_port)) = (listener(), listener());
    let policy = policy("udp_connect");
    let builder = sends_from.sandbox(&policy).bind("port", port.to_string());
    let reached = builder.run(listener().0, vec![port, other_port]).unwrap();
    assert_eq!(reached, [[None; 2], [Some(libc::EACCES); 2]]);
    hears(&granted, b"sent");
}

#[func(sandbox = dynamic)]
fn connects(port: u16) -> Option<i32> {
    errno(TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
}

fn a_kernel_that_cannot_confine_datagrams_is_refused_by_name() {
    let result = connects
        .sandbox(&policy("udp_connect"))
        .bind("port", "53")
        .run(80);
    if crossmist::landlock_abi() >= 10 {
        // No TCP socket comes with it.
        assert!(matches!(result, Err(Error::Violation(_))), "{result:?}");
        return;
    }
    let Err(Error::Policy { reason, .. }) = &result else {
        panic!("{result:?}")
    };
    for part in ["confining UDP ports needs ABI 10", "Linux 7.2", "udp:7"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[func]
fn runs_unconfined() -> u8 {
    7
}

#[func(sandbox = dynamic)]
fn runs() -> u8 {
    7
}

/// Nobody is there to be reached.
fn a_network_of_its_own_needs_no_such_kernel() {
    assert_eq!(runs_unconfined.run().unwrap(), 7);
    for key in ["udp_connect", "udp_bind"] {
        let text = format!(
            "format = 1\ndescription = \"x\"\nextends = [\"parser\"]\n\
             [network]\n{key} = [4711]\n[namespaces]\nnetwork = \"none\"\n"
        );
        let policy = SandboxPolicy::from_toml("udp", &text).unwrap();
        assert_eq!(runs.sandbox(&policy).run().unwrap(), 7, "{key}");
    }
}
