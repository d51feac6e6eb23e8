//! Files, sockets, pipes and other open descriptors.
//!
//! A descriptor from a confined or unknown peer is checked to be of the right kind before it becomes a value
//! of a type that promises one. A `File` that is really a pipe could block its reader for ever.

use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{ChildStderr, ChildStdin, ChildStdout};

use super::{DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::fd::disarm_soon;
use crate::sys::kind::{Access, Kind, Socket};

/// A descriptor of any kind.
///
/// # Security
///
/// Check what a peer has sent before you use it. A descriptor that was opened with O_PATH, for
/// example, can name a folder that its sender had no right to list, and `openat` from it uses your
/// rights.
impl Object for OwnedFd {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.descriptor(self.as_fd());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        accept(decoder, None)
    }

    fn describe(shape: &mut Shape) {
        shape.descriptor();
    }

    fn least_bytes() -> usize {
        2
    }
}

/// The kinds that a type accepts, and their name in an error.
struct Wanted {
    accepts: fn(Kind) -> bool,
    words: &'static str,
}

/// Reads a descriptor, of the wanted kind if there is one.
fn accept(decoder: &mut Decoder<'_>, wanted: Option<Wanted>) -> Result<OwnedFd, DecodeError> {
    let descriptor = decoder.descriptor()?;
    if decoder.is_trusted() {
        return Ok(descriptor.into_owned());
    }
    let mut may_linger = true;
    if let Some(Wanted { accepts, words }) = wanted {
        let kind = Kind::of(descriptor.as_fd());
        if !accepts(kind) {
            return Err(decoder.error(words, kind));
        }
        may_linger = matches!(kind, Kind::Socket(_));
    }
    // If the value turns out to be incomplete it is dropped, and the drop must not wait for a
    // socket.
    if may_linger && let Err(error) = disarm_soon(descriptor.as_fd()) {
        return Err(decoder.error("a socket whose close doesn't wait", error));
    }
    Ok(descriptor.into_owned())
}

/// The types that promise a kind.
macro_rules! kinds {
    ($($(#[$doc:meta])* $object:ty: $kind:pat, $words:literal;)*) => {$(
        $(#[$doc])*
        impl Object for $object {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                encoder.descriptor(self.as_fd());
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let wanted = Wanted {
                    accepts: |kind| matches!(kind, $kind),
                    words: $words,
                };
                accept(decoder, Some(wanted)).map(Self::from)
            }

            fn describe(shape: &mut Shape) {
                shape.descriptor_of_a_kind();
            }

            fn least_bytes() -> usize {
                2
            }
        }
    )*};
}

kinds! {
    /// A regular file or a directory. Offset and flags are shared with the sender. Send anything
    /// else as an [`OwnedFd`], such as devices, namespaces, or files opened with O_PATH.
    ///
    /// # Security
    ///
    /// The peer may have opened it in a file system that the peer provides, where every operation
    /// waits as long as the peer likes.
    File: Kind::File | Kind::Directory,
        "a regular file or a directory (anything else is sent as an `OwnedFd`)";
    /// A socket is shared with the sender, and so is its non-blocking mode. A socket that was taken out of
    /// tokio by `into_std` is non-blocking and gives the receiver `WouldBlock`. Call
    /// `set_nonblocking(false)` before sending it, since most policies deny that to a confined receiver.
    /// To pass a socket to a function that runs tokio, send tokio's own type. All of this holds for every
    /// type of socket.
    TcpStream: Kind::Socket(Socket::TcpStream), "a TCP socket that doesn't listen";
    TcpListener: Kind::Socket(Socket::TcpListener), "a listening TCP socket";
    UdpSocket: Kind::Socket(Socket::Udp), "a UDP socket";
    UnixStream: Kind::Socket(Socket::UnixStream), "a Unix stream socket that doesn't listen";
    UnixListener: Kind::Socket(Socket::UnixListener), "a listening Unix stream socket";
    UnixDatagram: Kind::Socket(Socket::UnixDatagram), "a Unix datagram socket";
    PipeReader: Kind::Pipe(Access::Read), "the reading end of a pipe";
    PipeWriter: Kind::Pipe(Access::Write), "the writing end of a pipe";
    ChildStdin: Kind::Pipe(Access::Write), "the writing end of a pipe";
    ChildStdout: Kind::Pipe(Access::Read), "the reading end of a pipe";
    ChildStderr: Kind::Pipe(Access::Read), "the reading end of a pipe";
}
