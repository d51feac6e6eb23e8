//! How each runtime creates channels of its own kind.

/// The functions of a runtime's module that create channels, whose types `Sender`, `Receiver` and `Duplex`
/// have to be in scope.
macro_rules! constructors {
    () => {
        /// Creates a channel in one direction. See [`crossmist::channel`](crate::channel).
        ///
        /// # Errors
        ///
        /// Those of [`crossmist::channel`](crate::channel).
        pub fn channel<T: crate::object::Object>()
        -> Result<(Sender<T>, Receiver<T>), crate::channel::ChannelError> {
            crate::channel().map(|(sender, receiver)| (sender.into(), receiver.into()))
        }

        /// Creates a channel in both directions. See [`crossmist::duplex`](crate::duplex).
        ///
        /// # Errors
        ///
        /// Those of [`crossmist::channel`](crate::channel).
        pub fn duplex<S: crate::object::Object, R: crate::object::Object>()
        -> Result<(Duplex<S, R>, Duplex<R, S>), crate::channel::ChannelError> {
            crate::duplex().map(|(ours, theirs)| (ours.into(), theirs.into()))
        }

        /// Channels that carry code. See [`crossmist::trusted`](crate::channel::trusted).
        pub mod trusted {
            use super::{Duplex, Receiver, Sender};
            use crate::channel::ChannelError;
            use crate::object::Object;

            /// Creates a channel in one direction, for values that may hold code.
            ///
            /// # Errors
            ///
            /// [`ChannelError::Io`] if no socket can be created.
            pub fn channel<T: Object>() -> Result<(Sender<T>, Receiver<T>), ChannelError> {
                crate::channel::trusted::channel()
                    .map(|(sender, receiver)| (sender.into(), receiver.into()))
            }

            /// Creates a channel in both directions, for values that may hold code.
            ///
            /// # Errors
            ///
            /// [`ChannelError::Io`] if no socket can be created.
            pub fn duplex<S: Object, R: Object>()
            -> Result<(Duplex<S, R>, Duplex<R, S>), ChannelError> {
                crate::channel::trusted::duplex().map(|(ours, theirs)| (ours.into(), theirs.into()))
            }
        }
    };
}

pub(crate) use constructors;
