//! The types that inputs are decoded as: the first byte of an input is an index into the list.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque};
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{PipeReader, PipeWriter};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::num::NonZero;
use std::ops::{Bound, Range};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crossmist::{
    Blob, DecodeError, Decoder, Delayed, Duplex, Encoder, Object, Receiver, Sender, Serde, Shape,
};
use serde::{Deserialize, Serialize};

/// A tree that shares its branches.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    pub name: String,
    pub next: Vec<Rc<Node>>,
    pub other: Option<Box<Node>>,
}

impl Object for Node {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.name.encode(encoder);
        self.next.encode(encoder);
        self.other.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Node {
            name: Object::decode(decoder)?,
            next: Object::decode(decoder)?,
            other: Object::decode(decoder)?,
        })
    }

    fn describe(shape: &mut Shape) {
        shape.part::<Vec<Rc<Node>>>("next");
    }
}

/// A delayed value that is decoded at once: what is still encoded can't be sent on.
#[derive(Debug)]
pub struct Opened<T>(Delayed<T>);

impl<T: Object> Object for Opened<T> {
    fn encode<'a>(&'a self, encoder: &mut Encoder<'a>) {
        self.0.encode(encoder);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let delayed = <Delayed<T> as Object>::decode(decoder)?;
        delayed.decode().map(Delayed::new).map(Opened)
    }

    fn describe(shape: &mut Shape) {
        shape.part::<Delayed<T>>("0");
    }

    fn least_bytes() -> usize {
        Delayed::<T>::least_bytes()
    }
}

/// A recursive type of serde's.
#[derive(Debug, Serialize, Deserialize)]
pub enum Tree {
    Leaf,
    Named { name: String, value: f64 },
    One(Box<Tree>),
    Many(Vec<Tree>),
    Map(BTreeMap<String, Tree>),
    Units(Vec<()>),
    Optional(Option<Box<Tree>>),
}

/// An action to be done with each type.
pub trait Visit {
    fn visit<T: Object>(&mut self);
}

macro_rules! types {
    ($(#[$doc:meta])* $function:ident $count:ident: $($type:ty;)*) => {
        $(#[$doc])*
        pub const $count: u8 = const { [$(stringify!($type)),*].len() as u8 };

        $(#[$doc])*
        pub fn $function(index: u8, visit: &mut impl Visit) {
            let visits = [$(|visit: &mut _| Visit::visit::<$type>(visit)),*];
            visits[usize::from(index % $count)](visit);
        }
    };
}

types! {
    /// Types that are bytes only.
    data DATA:
    (u8, u64, u128, i32, f64, usize);
    Vec<bool>;
    Vec<char>;
    Vec<NonZero<u16>>;
    Vec<()>;
    String;
    Vec<String>;
    (CString, OsString, PathBuf, Cow<'static, str>);
    Vec<Vec<Vec<u32>>>;
    Vec<Option<[u64; 16]>>;
    [String; 3];
    [[u16; 40_000]; 2];
    Vec<Result<u8, Box<str>>>;
    VecDeque<u16>;
    LinkedList<String>;
    BinaryHeap<Rc<str>>;
    BTreeMap<Vec<u8>, String>;
    BTreeSet<(Rc<String>, u8)>;
    HashMap<Rc<String>, Vec<Rc<String>>>;
    HashSet<BTreeSet<u8>>;
    Vec<Rc<Node>>;
    (Vec<Rc<Node>>, BTreeSet<Rc<Node>>, HashSet<Rc<Node>>);
    Node;
    Vec<(Arc<[u16]>, Rc<str>, Arc<str>)>;
    Vec<Rc<RefCell<Vec<Rc<Cell<u8>>>>>>;
    Mutex<Box<Vec<Box<u8>>>>;
    Vec<(Duration, SystemTime, Instant)>;
    Vec<(Range<u8>, Bound<u8>)>;
    Vec<SocketAddr>;
    Vec<std::io::Error>;
    Serde<Tree>;
    Serde<Vec<()>>;
    Serde<(Option<char>, HashMap<String, Vec<u8>>, i128)>;
    Vec<Serde<String>>;
    Vec<Opened<Rc<String>>>;
}

types! {
    /// Types that hold descriptors too.
    all ALL:
    String;
    Vec<Vec<u8>>;
    Vec<u32>;
    Vec<OwnedFd>;
    Vec<File>;
    (PipeReader, PipeWriter);
    Vec<Option<UnixStream>>;
    (TcpStream, TcpListener, UdpSocket, UnixDatagram);
    Vec<Sender<u8>>;
    Vec<Receiver<OwnedFd>>;
    Rc<RefCell<Duplex<u8, String>>>;
    Vec<Rc<OwnedFd>>;
    Vec<Blob>;
    Vec<Opened<Vec<OwnedFd>>>;
}
