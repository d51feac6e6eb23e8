//! Channel ends as objects, and as descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::endpoint::Endpoint;
use super::{ChannelError, Duplex, Receiver, Sender};
use crate::object::{DecodeError, Decoder, Encoder, Limits, Object, Shape, Trust};
use crate::sys::{passing, socket_options};

/// An end travels as its descriptor, a byte that says whether it carries code, and its limits.
impl Endpoint {
    pub(crate) fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        if let Some(reason) = self.unsendable() {
            encoder.fail(reason);
        }
        if self.trust == Trust::Code && !encoder.allows_code("a trusted channel end") {
            return;
        }
        if self.trust == Trust::Code && encoder.is_for_confined() {
            encoder.fail(
                "a trusted channel end can't be passed to a confined function, which could send \
                 code over it: use `crossmist::channel` or `crossmist::duplex`",
            );
            return;
        }
        if let Some(link) = self.link() {
            encoder.passes(link.clone());
        }
        encoder.descriptor(self.socket());
        encoder.put(&[u8::from(self.trust == Trust::Code)]);
        self.limits.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let descriptor = decoder.descriptor()?;
        let trust = match decoder.byte()? {
            0 => Trust::Data,
            1 if decoder.is_trusted() => Trust::Code,
            1 => return Err(decoder.error("a channel end for data", "one for code")),
            tag => return Err(decoder.error("0 or 1, for a channel of data or of code", tag)),
        };
        let mut limits = Limits::decode(decoder)?;
        if !decoder.is_trusted() {
            // A peer may lower these limits, but not raise them.
            limits = limits.min(decoder.limits());
        }
        check(descriptor.as_fd()).map_err(|reason| {
            decoder.error("a channel end", format_args!("a descriptor that {reason}"))
        })?;
        let socket = descriptor.into_owned();
        let mut endpoint = match decoder.is_trusted() {
            true => Endpoint::given(socket, trust),
            false => Endpoint::foreign(socket, trust),
        };
        endpoint.limits = limits;
        Ok(endpoint)
    }
}

/// Checks that a descriptor is a socket of the kind that this library creates.
///
/// Options that add to the control data of a message would take up the room that descriptors need.
pub(super) fn check(fd: BorrowedFd<'_>) -> Result<(), &'static str> {
    let is = |name, value| socket_options::get(fd, name).is_ok_and(|found| found == value);
    if !is(libc::SO_DOMAIN, libc::AF_UNIX) {
        return Err("is not a Unix socket");
    }
    if !is(libc::SO_TYPE, libc::SOCK_SEQPACKET) {
        return Err("is not a SOCK_SEQPACKET socket");
    }
    if !is(libc::SO_ACCEPTCONN, 0) {
        return Err("is a listening socket");
    }
    const SO_PASSPIDFD: libc::c_int = 76;
    for name in [libc::SO_PASSCRED, libc::SO_PASSSEC, SO_PASSPIDFD] {
        // If the kernel does not know an option, it cannot be set.
        if socket_options::get(fd, name).is_ok_and(|set| set != 0) {
            return Err("wants credentials with each message (SO_PASSCRED and the like)");
        }
    }
    if !socket_options::is_connected(fd) {
        return Err("is not connected");
    }
    Ok(())
}

/// Implements what the three kinds of ends have in common.
macro_rules! ends {
    ($([$($parameter:ident),*] $end:ty: $sends:ty => $receives:ty;)*) => {$(
        impl<$($parameter: Object),*> Object for $end {
            fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
                self.endpoint.encode(encoder);
            }

            fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                Endpoint::decode(decoder).map(Self::new)
            }

            // The type that an end will carry is not part of the message that the end is in. Whether it may
            // carry code was decided when it was created.
            fn describe(shape: &mut Shape) {
                shape.end_of_channel::<$sends, $receives>();
            }

            fn least_bytes() -> usize {
                2 + 1 + Limits::least_bytes()
            }
        }

        impl<$($parameter: Object),*> AsFd for $end {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.endpoint.socket()
            }
        }

        #[cfg(feature = "__runtime")]
        impl<$($parameter: Object),*> $end {
            /// Returns the end's parts, so that it can wait in another runtime.
            pub(crate) fn into_endpoint(self) -> Endpoint {
                self.endpoint
            }
        }

        /// Drops the channel's type and limits. A message that had arrived in part is lost.
        impl<$($parameter: Object),*> From<$end> for OwnedFd {
            fn from(end: $end) -> OwnedFd {
                let socket = end.endpoint.into_socket();
                // Its type no longer tells what arrives.
                passing::accept(socket.as_fd());
                socket
            }
        }

        /// Turns a descriptor into the end of a data channel. It must be a connected SOCK_SEQPACKET
        /// socket, like those that the conversion in the other direction returns.
        impl<$($parameter: Object),*> TryFrom<OwnedFd> for $end {
            type Error = ChannelError;

            fn try_from(fd: OwnedFd) -> Result<Self, ChannelError> {
                $(super::refuse_code::<$parameter>()?;)*
                super::end_of::<$receives>(fd, Trust::Data).map(Self::new)
            }
        }
    )*};
}

ends! {
    [T] Sender<T>: T => ();
    [T] Receiver<T>: () => T;
    [S, R] Duplex<S, R>: S => R;
}
