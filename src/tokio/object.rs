//! tokio's types as objects: files and sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use tokio::net::unix::pipe;

use crate::object::{DecodeError, Decoder, Encoder, Object, Shape};
use crate::sys::kind::is_nonblocking;

/// Registers a descriptor with the runtime that the decoder runs in.
///
/// tokio's constructors panic if there is none.
fn registered<T>(
    decoder: &Decoder<'_>,
    register: impl FnOnce() -> io::Result<T>,
) -> Result<T, DecodeError> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(decoder.error("a place within a tokio runtime", "none: see `Delayed`"));
    }
    register().map_err(|error| decoder.error("what tokio can register", error))
}

/// tokio's sockets are sent like those of the standard library, and checked like them.
///
/// They are non-blocking, and everybody who shares the socket sees that mode. It is set on arrival
/// only if a peer has sent a blocking socket instead.
macro_rules! sockets {
    ($($tokio:ty as $std:ty;)*) => {$(
        impl Object for $tokio {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                encoder.descriptor(self.as_fd());
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let socket = <$std>::decode(decoder)?;
                if !is_nonblocking(socket.as_fd())
                    && let Err(error) = socket.set_nonblocking(true)
                {
                    return Err(decoder.error(
                        "a socket that is non-blocking, or may be made so",
                        format_args!("one that is not: {error}"),
                    ));
                }
                registered(decoder, || Self::from_std(socket))
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

sockets! {
    tokio::net::TcpStream as std::net::TcpStream;
    tokio::net::TcpListener as std::net::TcpListener;
    tokio::net::UdpSocket as std::net::UdpSocket;
    tokio::net::UnixStream as std::os::unix::net::UnixStream;
    tokio::net::UnixListener as std::os::unix::net::UnixListener;
    tokio::net::UnixDatagram as std::os::unix::net::UnixDatagram;
}

/// tokio's pipes, likewise.
macro_rules! pipes {
    ($($tokio:ty as $std:ty;)*) => {$(
        impl Object for $tokio {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                encoder.descriptor(self.as_fd());
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let pipe = OwnedFd::from(<$std>::decode(decoder)?);
                registered(decoder, || Self::from_owned_fd(pipe))
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

pipes! {
    pipe::Sender as io::PipeWriter;
    pipe::Receiver as io::PipeReader;
}

/// A file can be created without a runtime. Bytes that it has read ahead or not yet written stay behind:
/// flush it before you send it.
impl Object for tokio::fs::File {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        encoder.descriptor(self.as_fd());
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        std::fs::File::decode(decoder).map(Self::from_std)
    }

    fn describe(shape: &mut Shape) {
        shape.descriptor_of_a_kind();
    }

    fn least_bytes() -> usize {
        2
    }
}
