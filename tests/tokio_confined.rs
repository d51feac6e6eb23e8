//! tokio in confined functions: what it has that can be passed, and its runtimes.

mod support;

use std::io::SeekFrom;
use std::time::Duration;

use crossmist::{Error, func};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use tokio::time::timeout;

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_tcp_stream_is_read_and_written,
            a_unix_stream_is_read_and_written,
            a_pipe_is_read_and_one_is_written,
            a_file_is_read,
            a_tcp_listener_goes_there_and_back,
            a_unix_listener_goes_there_and_back,
            a_udp_socket_is_read,
            a_unix_datagram_socket_is_read,
            a_socket_that_a_peer_made_blocking_is_refused_in_words,
            both_runtimes_run_in_full,
            what_waits_in_a_runtime_ends_at_its_deadline,
            a_nonblocking_socket_arrives_as_it_is,
            the_names_in_a_violation_are_looked_up_before_it_is_returned,
        ],
        cases![],
    );
}

/// Makes calls that the policy denies.
#[func(sandbox = "parser")]
fn makes() {
    let _ = std::fs::create_dir("/nowhere/at/all");
}

fn the_names_in_a_violation_are_looked_up_before_it_is_returned() {
    let is_looked_up = |error: &Error| {
        let Error::Violation(violation) = error else {
            panic!("{error}");
        };
        !format!("{:?}", violation.claim).contains("<uninit>")
    };
    // A control: who blocks has the names looked up when it asks for them.
    let error = makes.run().unwrap_err();
    assert!(!is_looked_up(&error));
    // Without the feature there are no names.
    let has_names = cfg!(feature = "backtrace");
    assert_eq!(error.to_string().contains("at: "), has_names, "{error}");
    assert!(is_looked_up(&error));
    let error = block_on(async { makes.spawn_tokio().await?.join().await }).unwrap_err();
    assert_eq!(is_looked_up(&error), has_names);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn block_on<F: Future>(test: F) -> F::Output {
    let patience = support::patience(Duration::from_secs(120));
    runtime().block_on(async { timeout(patience, test).await.unwrap() })
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

/// Says the same again, in capitals, until the other end has said all.
async fn shout(mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) -> u64 {
    let (mut count, mut byte) = (0, [0]);
    while stream.read(&mut byte).await.unwrap() == 1 {
        byte.make_ascii_uppercase();
        stream.write_all(&byte).await.unwrap();
        count += 1;
    }
    count
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn shout_tcp(stream: TcpStream) -> u64 {
    shout(stream).await
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn shout_unix(stream: UnixStream) -> u64 {
    tokio::spawn(shout(stream)).await.unwrap()
}

/// A conversation in which the child has to wait for each word.
async fn converse(mut ours: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin) {
    for word in ["one", "two", "three"] {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ours.write_all(word.as_bytes()).await.unwrap();
        let mut loud = vec![0; word.len()];
        ours.read_exact(&mut loud).await.unwrap();
        assert_eq!(loud, word.to_uppercase().as_bytes());
    }
}

fn a_tcp_stream_is_read_and_written() {
    block_on(async {
        let (ours, theirs) = tcp_pair().await;
        let (count, ()) = tokio::join!(shout_tcp.run_tokio(theirs), converse(ours));
        assert_eq!(count.unwrap(), 11);
    });
}

fn a_unix_stream_is_read_and_written() {
    block_on(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (count, ()) = tokio::join!(shout_unix.run_tokio(theirs), converse(ours));
        assert_eq!(count.unwrap(), 11);
    });
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn shout_piped(mut from: pipe::Receiver, mut to: pipe::Sender) -> pipe::Receiver {
    let mut word = [0; 5];
    from.read_exact(&mut word).await.unwrap();
    word.make_ascii_uppercase();
    to.write_all(&word).await.unwrap();
    from
}

fn a_pipe_is_read_and_one_is_written() {
    block_on(async {
        let (mut tell, theirs) = pipe::pipe().unwrap();
        let (to, mut told) = pipe::pipe().unwrap();
        let call = shout_piped.run_tokio(theirs, to);
        let talk = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tell.write_all(b"quietmore").await.unwrap();
            let mut loud = [0; 5];
            told.read_exact(&mut loud).await.unwrap();
            assert_eq!(&loud, b"QUIET");
        };
        let (back, ()) = tokio::join!(call, talk);
        // And back.
        let mut rest = [0; 4];
        back.unwrap().read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"more");
    });
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn read_file(mut file: tokio::fs::File) -> (u64, String) {
    let length = file.metadata().await.unwrap().len();
    file.seek(SeekFrom::Start(2)).await.unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).await.unwrap();
    (length, text)
}

fn a_file_is_read() {
    block_on(async {
        let directory = support::Directory::new();
        let path = directory.path().join("file");
        std::fs::write(&path, "a file").unwrap();
        let file = tokio::fs::File::open(&path).await.unwrap();
        let read = read_file.run_tokio(file).await.unwrap();
        assert_eq!(read, (6, "file".to_owned()));
    });
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn keep_tcp(listener: TcpListener) -> TcpListener {
    listener
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn keep_unix(listener: UnixListener) -> UnixListener {
    listener
}

fn a_tcp_listener_goes_there_and_back() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = keep_tcp.run_tokio(listener).await.unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        drop((ours.unwrap(), theirs.unwrap()));
    });
}

fn a_unix_listener_goes_there_and_back() {
    block_on(async {
        let directory = support::Directory::new();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let listener = keep_unix.run_tokio(listener).await.unwrap();
        let (ours, theirs) = tokio::join!(UnixStream::connect(&path), listener.accept());
        drop((ours.unwrap(), theirs.unwrap()));
    });
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn receive_udp(socket: UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 100];
    let count = socket.recv(&mut bytes).await.unwrap();
    bytes.truncate(count);
    bytes
}

fn a_udp_socket_is_read() {
    block_on(async {
        let ours = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let theirs = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = theirs.local_addr().unwrap();
        let send = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ours.send_to(b"datagram", address).await.unwrap();
        };
        let (received, ()) = tokio::join!(receive_udp.run_tokio(theirs), send);
        assert_eq!(received.unwrap(), b"datagram");
    });
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn receive_unix(socket: UnixDatagram) -> Vec<u8> {
    let mut bytes = vec![0; 100];
    let count = socket.recv(&mut bytes).await.unwrap();
    bytes.truncate(count);
    bytes
}

fn a_unix_datagram_socket_is_read() {
    block_on(async {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let send = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ours.send(b"datagram").await.unwrap();
        };
        let (received, ()) = tokio::join!(receive_unix.run_tokio(theirs), send);
        assert_eq!(received.unwrap(), b"datagram");
    });
}

#[func(sandbox = "worker")]
fn end_of(text: String) -> String {
    text
}

fn a_socket_that_a_peer_made_blocking_is_refused_in_words() {
    block_on(async {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // The mode is the open socket's: changing it for one handle changes it for all.
        let same: std::os::fd::OwnedFd = std::os::fd::AsFd::as_fd(&theirs)
            .try_clone_to_owned()
            .unwrap();
        std::os::unix::net::UnixStream::from(same)
            .set_nonblocking(false)
            .unwrap();
        let result = shout_unix.run_tokio(theirs).await;
        let Err(Error::BadArguments { reason, .. }) = result else {
            panic!("{result:?}");
        };
        assert!(
            reason
                .as_raw()
                .contains("a socket that is non-blocking, or may be made so"),
            "{reason}"
        );
        drop(ours);
        assert_eq!(end_of.run_tokio("on".into()).await.unwrap(), "on");
    });
}

/// Timers, tasks, the pool of blocking threads, a pair of sockets, and a channel between tasks.
async fn exercise() -> Vec<u64> {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let shouts = tokio::spawn(shout(theirs));
    let (tell, mut told) = tokio::sync::mpsc::channel(1);
    let sums = (0..4u64).map(|task| {
        let tell = tell.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(task)).await;
            let square = tokio::task::spawn_blocking(move || task * task).await;
            tell.send(square.unwrap()).await.unwrap();
        })
    });
    let sums: Vec<_> = sums.collect();
    drop(tell);
    let mut results = Vec::new();
    while let Some(result) = told.recv().await {
        results.push(result);
    }
    for sum in sums {
        sum.await.unwrap();
    }
    ours.write_all(b"word").await.unwrap();
    let mut loud = [0; 4];
    ours.read_exact(&mut loud).await.unwrap();
    assert_eq!(&loud, b"WORD");
    drop(ours);
    results.push(shouts.await.unwrap());
    results.sort_unstable();
    results
}

#[func(sandbox = "worker")]
#[tokio::main(flavor = "current_thread")]
async fn exercise_one_thread() -> Vec<u64> {
    exercise().await
}

#[func(sandbox = "worker")]
#[tokio::main]
async fn exercise_many_threads() -> Vec<u64> {
    exercise().await
}

fn both_runtimes_run_in_full() {
    let expected = [0, 1, 4, 4, 9];
    assert_eq!(block_on(exercise()), expected);
    assert_eq!(exercise_one_thread.run().unwrap(), expected);
    assert_eq!(exercise_many_threads.run().unwrap(), expected);
}

fn what_waits_in_a_runtime_ends_at_its_deadline() {
    block_on(async {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let call = shout_unix.builder();
        let call = call.deadline(support::patience(Duration::from_secs(5)));
        let result = call.run_tokio(theirs).await;
        assert!(matches!(result, Err(Error::Deadline { .. })), "{result:?}");
    });
}

#[func(sandbox = "parser")]
fn read_as_it_is(mut stream: std::net::TcpStream) -> Result<u8, std::io::Error> {
    use std::io::Read;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(byte[0])
}

/// The documentation of sockets says this.
fn a_nonblocking_socket_arrives_as_it_is() {
    block_on(async {
        let (ours, theirs) = tcp_pair().await;
        let theirs = theirs.into_std().unwrap();
        let again = theirs.try_clone().unwrap();
        let error = read_as_it_is.run(theirs).unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        // The cure: the sender decides.
        again.set_nonblocking(false).unwrap();
        let late = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let mut ours = ours;
            ours.write_all(&[7]).await.unwrap();
            ours
        });
        assert_eq!(read_as_it_is.run_tokio(again).await.unwrap().unwrap(), 7);
        late.await.unwrap();
    });
}
