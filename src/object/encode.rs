//! Encodes a value into the three sections of a message: bytes, descriptors, code references.

use std::any::{Any, TypeId};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::decode::{Stack, key_weight};
use super::{
    Auto, BULK_BYTES, BULK_RUNS, EncodeError, EncodeErrorKind, Limits, Link, Object, Trust,
};

/// Writes the parts of a value into a message. See [`Object::encode`].
///
/// Its methods return no error. If something cannot be sent, the encoder remembers the first
/// reason, writes or skips the rest, and the send fails before anything has left the process.
#[derive(Debug)]
pub struct Encoder<'a> {
    message: Encoded<'a>,
    /// How many bytes of `message.bytes` are room for the header.
    head: usize,
    limits: Limits,
    trust: Trust,
    depth: usize,
    stack: Stack,
    empty_elements: usize,
    /// How many runs and descriptors of the message are set aside while a temporary is written. See
    /// [`temporary`](Self::temporary).
    aside: Aside,
    /// Made when it is needed: a `HashMap` draws its thread's keys, and where the keeper has drawn them, all
    /// children have the same.
    shared: Option<HashMap<(usize, TypeId), Shared>>,
    shared_written: u32,
    /// The greatest depth of what was written so far within the innermost shared object.
    deepest: usize,
    /// Bytes of the runs so far.
    run_bytes: usize,
    /// The weight of the references to earlier objects within the innermost shared object.
    referenced: usize,
    /// Whether a key is being written.
    in_key: bool,
    /// The weight of the references in keys so far.
    key_weight: usize,
    /// Whether the receiver will be confined. It may be sent code to run, but no channel end over
    /// which code could come back.
    for_confined: bool,
    failure: Option<EncodeErrorKind>,
}

/// The sections of a message, ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Encoded<'a> {
    /// Room for the header, then the bytes.
    pub(crate) bytes: Vec<u8>,
    /// Long runs of bytes, which are sent after the message and never copied.
    pub(crate) bulk: Vec<Cow<'a, [u8]>>,
    pub(crate) descriptors: Vec<Lent<'a>>,
    pub(crate) code: Vec<u64>,
    /// The ends of channels among the descriptors.
    pub(crate) links: Vec<Link>,
}

/// A descriptor to be sent: the value's own, or one that was created for the message.
#[derive(Debug)]
pub(crate) enum Lent<'a> {
    Borrowed(BorrowedFd<'a>),
    Owned(OwnedFd),
}

impl AsFd for Lent<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Lent::Borrowed(fd) => *fd,
            Lent::Owned(fd) => fd.as_fd(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Aside {
    bulk: usize,
    descriptors: usize,
}

/// A shared allocation that the message contains.
#[derive(Debug)]
struct Shared {
    /// The facts that are known once its contents are written. `None` until then; meeting the allocation in
    /// that state means that it contains itself.
    complete: Option<Complete>,
    /// Keeps the allocation alive, so that its address is not reused by a later temporary.
    _handle: Box<dyn Any>,
}

/// A shared allocation with its contents written.
#[derive(Clone, Copy, Debug)]
struct Complete {
    /// Allocations are numbered in the order in which they are complete, since the decoder cannot
    /// hand one out earlier.
    number: u32,
    /// How deeply its pointers and containers nest.
    height: usize,
    /// How long its message would be without sharing.
    weight: usize,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder that appends to `buffer`, whose present contents are room for a header.
    pub(crate) fn new(buffer: Vec<u8>, limits: Limits, trust: Trust) -> Self {
        Self {
            head: buffer.len(),
            message: Encoded {
                bytes: buffer,
                ..Encoded::default()
            },
            limits,
            trust,
            depth: 0,
            stack: Stack::here(),
            empty_elements: 0,
            aside: Aside::default(),
            shared: None,
            shared_written: 0,
            deepest: 0,
            run_bytes: 0,
            referenced: 0,
            in_key: false,
            key_weight: 0,
            for_confined: false,
            failure: None,
        }
    }

    /// Declares that what follows is for a process that will be confined.
    pub(crate) fn for_confined(&mut self) {
        self.for_confined = true;
    }

    /// Returns whether the receiver will be confined.
    pub(crate) fn is_for_confined(&self) -> bool {
        self.for_confined
    }

    /// Returns the finished sections, or after a failure the buffer, for reuse.
    pub(crate) fn finish(mut self) -> Result<Encoded<'a>, (EncodeError, Vec<u8>)> {
        let bytes = self.message.bytes.len() - self.head
            + self.message.code.len() * size_of::<u64>()
            + self.message.bulk.iter().map(|run| run.len()).sum::<usize>();
        // The lengths on the wire have 32 bits.
        let limit = self.limits.message_bytes.min(u32::MAX as usize);
        if bytes > limit {
            self.refuse(EncodeErrorKind::TooLong { bytes, limit });
        }
        let descriptors = self.message.descriptors.len();
        let limit = self
            .limits
            .descriptors
            .min(crate::sys::socket::MAX_DESCRIPTORS);
        if descriptors > limit {
            self.refuse(EncodeErrorKind::TooManyDescriptors { descriptors, limit });
        }
        if self.empty_elements > self.limits.empty_elements {
            let (elements, limit) = (self.empty_elements, self.limits.empty_elements);
            // The receiver also allows as many elements as there are bytes.
            if elements > bytes {
                self.refuse(EncodeErrorKind::TooManyEmptyElements { elements, limit });
            }
        }
        if self.key_weight > key_weight(bytes) {
            self.refuse(EncodeErrorKind::KeysShareTooMuch {
                weight: self.key_weight,
                limit: key_weight(bytes),
            });
        }
        match self.failure {
            None => Ok(self.message),
            Some(kind) => Err((EncodeError::new(kind), self.message.bytes)),
        }
    }

    /// Writes bytes as they are, without a length.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.message.bytes.extend_from_slice(bytes);
    }

    /// Writes the number of elements that follow. Each takes at least `least_bytes`.
    #[inline]
    pub fn count(&mut self, count: usize, least_bytes: usize) {
        if least_bytes == 0 {
            self.empty_elements(count);
        }
        match u32::try_from(count) {
            Ok(count) => self.put(&count.to_le_bytes()),
            Err(_) => self.refuse(EncodeErrorKind::TooLong {
                bytes: count,
                limit: self.limits.message_bytes,
            }),
        }
    }

    /// Accounts for elements that may take no bytes.
    pub(super) fn empty_elements(&mut self, count: usize) {
        self.empty_elements = self.empty_elements.saturating_add(count);
    }

    /// Writes bytes, preceded by their number. Long runs are borrowed until the message is sent.
    pub fn bytes(&mut self, bytes: &'a [u8]) {
        self.count(bytes.len(), 1);
        self.run(Cow::Borrowed(bytes));
    }

    /// Writes bytes, preceded by their number, from a buffer that was created for the message. See
    /// [`bytes`](Self::bytes).
    pub fn bytes_owned(&mut self, bytes: Vec<u8>) {
        self.count(bytes.len(), 1);
        self.run(Cow::Owned(bytes));
    }

    /// Writes bytes whose number the receiver already knows.
    pub(crate) fn run(&mut self, bytes: Cow<'a, [u8]>) {
        if bytes.len() >= BULK_BYTES && self.aside.bulk + self.message.bulk.len() < BULK_RUNS {
            self.run_bytes += bytes.len();
            self.message.bulk.push(bytes);
        } else {
            self.put(&bytes);
        }
    }

    /// Writes a descriptor. The receiver gets its own descriptor for the same open file.
    pub fn descriptor(&mut self, descriptor: BorrowedFd<'a>) {
        self.lend(Lent::Borrowed(descriptor));
    }

    /// Writes a descriptor that was created for this message. It is closed once the message is
    /// sent.
    pub fn owned_descriptor(&mut self, descriptor: OwnedFd) {
        self.lend(Lent::Owned(descriptor));
    }

    /// Notes that a descriptor is the end of a channel.
    pub(crate) fn passes(&mut self, link: Link) {
        self.message.links.push(link);
    }

    pub(crate) fn lend(&mut self, descriptor: Lent<'a>) {
        // `finish` refuses more than the kernel's limit. Here the index only has to fit.
        let index = u16::try_from(self.aside.descriptors + self.message.descriptors.len())
            .unwrap_or(u16::MAX);
        self.put(&index.to_le_bytes());
        self.message.descriptors.push(descriptor);
    }

    /// Writes a code reference, if this message may hold one.
    pub(crate) fn code(&mut self, reference: Option<u64>, auto: Auto, what: &'static str) {
        if !self.allows_code(what) {
            return;
        }
        let Some(reference) = reference else {
            self.refuse(EncodeErrorKind::CodeElsewhere { what });
            return;
        };
        // The length limit keeps the number of references below 2³².
        let index = u32::try_from(self.message.code.len()).unwrap_or(u32::MAX);
        self.put(&index.to_le_bytes());
        self.message.code.push(auto.mark(reference));
    }

    /// Writes a code reference that is already marked.
    pub(crate) fn code_as_is(&mut self, marked: u64) {
        let (reference, auto) = Auto::unmark(marked);
        self.code(Some(reference), auto, "a delayed value with code");
    }

    /// Creates an encoder for a part that becomes a message of its own, with the same limits.
    pub(crate) fn for_part<'p>(&self) -> Encoder<'p> {
        let mut part = Encoder::new(Vec::new(), self.limits, self.trust);
        part.for_confined = self.for_confined;
        part
    }

    /// Returns whether this message may hold code. If not, the send fails for that reason.
    pub(crate) fn allows_code(&mut self, what: &'static str) -> bool {
        if self.trust == Trust::Data {
            self.refuse(EncodeErrorKind::CodeOnDataChannel { what });
        }
        self.trust == Trust::Code
    }

    /// Writes the target of a pointer, or the contents of a container.
    ///
    /// Every step of a recursion goes through this method, which bounds the nesting.
    #[inline]
    pub fn nested(&mut self, write: impl FnOnce(&mut Self)) {
        if self.depth == self.limits.nesting {
            self.refuse(EncodeErrorKind::TooDeep {
                limit: self.limits.nesting,
            });
            return;
        }
        if self.stack.is_used_up() {
            self.refuse(EncodeErrorKind::NoStack);
            return;
        }
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
        write(self);
        self.depth -= 1;
    }

    /// Returns how many levels of nesting are left.
    pub(super) fn nesting_left(&self) -> usize {
        self.limits.nesting.saturating_sub(self.depth)
    }

    pub(super) fn stack(&self) -> Stack {
        self.stack
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Writes a value that the receiver hashes or compares while it decodes: a key of a map, or an element of
    /// a set or of a heap. See [`Decoder::key`](crate::Decoder::key).
    #[inline]
    pub fn key(&mut self, write: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.in_key, true);
        write(self);
        self.in_key = outer;
    }

    /// Writes a value that does not live as long as the one being sent, such as a temporary, or the contents
    /// of a lock or a `RefCell`. Its bytes are copied, and its descriptors are duplicated.
    pub fn temporary<T: Object + ?Sized>(&mut self, value: &T) {
        let mut inner = Encoder {
            message: Encoded {
                bytes: std::mem::take(&mut self.message.bytes),
                code: std::mem::take(&mut self.message.code),
                bulk: Vec::new(),
                descriptors: Vec::new(),
                links: std::mem::take(&mut self.message.links),
            },
            aside: Aside {
                bulk: self.aside.bulk + self.message.bulk.len(),
                descriptors: self.aside.descriptors + self.message.descriptors.len(),
            },
            shared: self.shared.take(),
            failure: self.failure.take(),
            ..*self
        };
        value.encode(&mut inner);

        let Encoder {
            message,
            empty_elements,
            shared,
            shared_written,
            deepest,
            run_bytes,
            referenced,
            key_weight,
            failure,
            ..
        } = inner;
        self.message.bytes = message.bytes;
        self.message.code = message.code;
        self.message.links = message.links;
        self.empty_elements = empty_elements;
        self.shared = shared;
        self.shared_written = shared_written;
        self.deepest = deepest;
        self.run_bytes = run_bytes;
        self.referenced = referenced;
        self.key_weight = key_weight;
        self.failure = failure;
        let runs = message
            .bulk
            .into_iter()
            .map(|run| Cow::Owned(run.into_owned()));
        self.message.bulk.extend(runs);
        for lent in message.descriptors {
            let owned = match lent {
                Lent::Owned(fd) => Ok(fd),
                Lent::Borrowed(fd) => fd.try_clone_to_owned(),
            };
            match owned {
                Ok(fd) => self.message.descriptors.push(Lent::Owned(fd)),
                Err(error) => {
                    self.refuse(EncodeErrorKind::Descriptor {
                        reason: error.to_string(),
                    });
                }
            }
        }
    }

    /// Declares that the value cannot be sent, and why. The first reason counts.
    pub fn fail(&mut self, reason: impl Into<String>) {
        self.refuse(EncodeErrorKind::Refused {
            reason: reason.into(),
        });
    }

    #[cold]
    pub(crate) fn refuse(&mut self, kind: EncodeErrorKind) {
        self.failure.get_or_insert(kind);
    }

    /// Writes the shared allocation at `address`, which `handle` keeps alive: by `contents` the
    /// first time, and as a reference after that.
    pub(crate) fn shared<H: Clone + 'static>(
        &mut self,
        address: usize,
        handle: &H,
        contents: impl FnOnce(&mut Self),
    ) {
        let key = (address, TypeId::of::<H>());
        match self.shared.get_or_insert_default().entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Shared {
                    complete: None,
                    _handle: Box::new(handle.clone()),
                });
            }
            Entry::Occupied(entry) => {
                match entry.get().complete {
                    None => self.refuse(EncodeErrorKind::Cycle),
                    Some(earlier) => self.earlier(earlier),
                }
                return;
            }
        }
        self.put(&[0]);
        let outside = std::mem::replace(&mut self.deepest, self.depth);
        let before = self.written();
        let referenced_outside = std::mem::take(&mut self.referenced);
        contents(self);
        let complete = Complete {
            number: self.shared_written,
            height: self.deepest - self.depth,
            weight: (self.written() - before).saturating_add(self.referenced),
        };
        self.referenced = self.referenced.saturating_add(referenced_outside);
        if let Some(shared) = self.shared.as_mut().and_then(|all| all.get_mut(&key)) {
            shared.complete = Some(complete);
        }
        // Each takes at least a byte, and a message has less than 2³² bytes.
        self.shared_written = self.shared_written.wrapping_add(1);
        self.deepest = self.deepest.max(outside);
    }

    /// Writes a reference. Its target counts as if it were written again, except in bytes.
    fn earlier(&mut self, earlier: Complete) {
        let deepest = self.depth + earlier.height;
        if deepest > self.limits.nesting {
            self.refuse(EncodeErrorKind::TooDeep {
                limit: self.limits.nesting,
            });
        }
        if self.in_key {
            self.key_weight = self.key_weight.saturating_add(earlier.weight);
        }
        self.deepest = self.deepest.max(deepest);
        self.referenced = self.referenced.saturating_add(earlier.weight);
        self.put(&[1]);
        self.put(&earlier.number.to_le_bytes());
    }

    /// Returns how many bytes were written, runs included.
    fn written(&self) -> usize {
        self.message.bytes.len() + self.run_bytes
    }
}
