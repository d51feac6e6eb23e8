//! The keeper's first message: that it is ready, and its credentials, or why it could not start.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use super::identity::Credentials;
use crate::sys::socket::{self, Wait};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    Ready {
        credentials: Credentials,
        /// The process that shows which Landlock domain the keeper is in; 0 if there is none.
        witness: i32,
        /// The code that is mapped in it and in its children, as `/proc/PID/maps` has it.
        mapped: Vec<u8>,
    },
    Failed(String),
    /// It is to be in a user namespace of its own, and none can be created.
    NoUserNamespace(String),
    /// The state that its children were to share could not be prepared.
    NotPrepared(String),
}

impl Handshake {
    /// It is no longer than this.
    pub(super) const BYTES: usize = 1024 + Self::MOST_MAPPED;

    /// How long the list of what is mapped is at most: that of some 300 libraries.
    pub(super) const MOST_MAPPED: usize = 32 << 10;

    fn to_bytes(&self) -> Vec<u8> {
        let (kind, rest) = match self {
            Self::Ready {
                credentials,
                witness,
                mapped,
            } => {
                let witness = witness.to_le_bytes();
                let credentials = credentials.to_bytes();
                (b'R', [&witness, credentials.as_slice(), mapped].concat())
            }
            Self::Failed(reason) => (b'F', reason.as_bytes().to_vec()),
            Self::NoUserNamespace(reason) => (b'U', reason.as_bytes().to_vec()),
            Self::NotPrepared(reason) => (b'P', reason.as_bytes().to_vec()),
        };
        let mut bytes = vec![kind];
        bytes.extend(rest);
        bytes.truncate(Self::BYTES);
        bytes
    }

    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
        match packet.split_first()? {
            (b'R', rest) => {
                let (witness, rest) = rest.split_first_chunk()?;
                let (credentials, mapped) = rest.split_at_checked(Credentials::BYTES)?;
                Some(Self::Ready {
                    credentials: Credentials::parse(credentials)?,
                    witness: i32::from_le_bytes(*witness),
                    mapped: mapped.to_vec(),
                })
            }
            (b'F', rest) => Some(Self::Failed(String::from_utf8_lossy(rest).into_owned())),
            (b'U', rest) => Some(Self::NoUserNamespace(
                String::from_utf8_lossy(rest).into_owned(),
            )),
            (b'P', rest) => Some(Self::NotPrepared(
                String::from_utf8_lossy(rest).into_owned(),
            )),
            _ => None,
        }
    }

    fn without_mapped(&self) -> Option<Self> {
        let Self::Ready {
            credentials,
            witness,
            ..
        } = self
        else {
            return None;
        };
        Some(Self::Ready {
            credentials: *credentials,
            witness: *witness,
            mapped: Vec::new(),
        })
    }

    /// Sends it, if anybody listens. What is mapped is left out if the socket has no room for it.
    pub(super) fn send(&self, program: BorrowedFd<'_>) {
        let send = |bytes: &[u8]| socket::send(program, &[IoSlice::new(bytes)], &[], Wait::Never);
        let sent = send(&self.to_bytes());
        let is_too_long = sent.is_err_and(|error| error.raw_os_error() == Some(libc::EMSGSIZE));
        // Without the list, places are guesses, which is better than no keeper.
        if is_too_long && let Some(shorter) = self.without_mapped() {
            let _ = send(&shorter.to_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_survives_the_round_trip() {
        let ready = Handshake::Ready {
            credentials: Credentials::of_this_thread().unwrap(),
            witness: 1 << 20,
            mapped: b"7f00-7f01 r-xp 00000000 fe:00 7 /usr/lib/libz.so\n".to_vec(),
        };
        let failed = Handshake::Failed("no".to_owned());
        let refused = Handshake::NoUserNamespace("no".to_owned());
        for hello in [ready, failed, refused] {
            assert_eq!(Handshake::parse(&hello.to_bytes()), Some(hello));
        }
        assert_eq!(Handshake::parse(b""), None);
        assert_eq!(Handshake::parse(b"R"), None);
        assert_eq!(Handshake::parse(b"X"), None);
    }

    #[test]
    fn a_keeper_is_ready_even_if_the_socket_has_little_room() {
        use nix::sys::socket::{setsockopt, sockopt::SndBuf};
        use std::os::fd::AsFd;

        let credentials = Credentials::of_this_thread().unwrap();
        let ready = |mapped: &[u8]| Handshake::Ready {
            credentials,
            witness: 7,
            mapped: mapped.to_vec(),
        };
        let long = ready(&[b'7'; Handshake::MOST_MAPPED]);
        for (room, received) in [(1 << 20, &long), (4096, &ready(&[]))] {
            let (program, keeper) = socket::pair().unwrap();
            setsockopt(&keeper, SndBuf, &room).unwrap();
            long.send(keeper.as_fd());
            let mut packet = vec![0; Handshake::BYTES + 1];
            let length = nix::unistd::read(&program, &mut packet).unwrap();
            assert_eq!(Handshake::parse(&packet[..length]).as_ref(), Some(received));
        }
    }
}
