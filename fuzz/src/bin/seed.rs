//! Writes the corpus: a few inputs for each type, the same ones each time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crossmist::{Object, Serde, to_bytes};
use crossmist_fuzz::types::{ALL, DATA, Node, Tree};

fn main() -> io::Result<()> {
    for index in 0..DATA {
        write("values", &format!("{index:02}-zeros"), index, &[0; 64])?;
        // A count of one, and then of one, and so on.
        write(
            "values",
            &format!("{index:02}-ones"),
            index,
            &[1, 0, 0, 0].repeat(16),
        )?;
        write("values", &format!("{index:02}-most"), index, &[0xFF; 16])?;
    }
    let name = Rc::new("name".to_owned());
    let map = HashMap::from([(name.clone(), vec![name.clone(), name])]);
    let values = [
        ("strings", 6, body(&vec!["one".to_owned(), "two".into()])),
        (
            "map",
            16,
            body(&BTreeMap::from([(vec![1u8], "x".to_owned())])),
        ),
        ("shared-map", 18, body(&map)),
        ("graph", 20, body(&graph())),
        ("times", 26, body(&(1u32, Duration::from_secs(1)))),
        ("error", 29, body(&vec![io::Error::other("text")])),
        ("tree", 30, body(&Serde(tree()))),
    ];
    for (name, index, value) in values {
        write("values", name, index, &value)?;
        write("frames", name, index, &crossmist_fuzz::message(&value))?;
    }
    // Messages with runs, which `values` has no room for.
    let runs = vec![vec![7u8; 65_536], vec![8; 70_000], vec![9]];
    write(
        "frames",
        "runs",
        8,
        &to_bytes(&runs).map_err(io::Error::other)?,
    )?;
    let array = [[7u16; 40_000]; 2];
    write(
        "frames",
        "array",
        11,
        &to_bytes(&array).map_err(io::Error::other)?,
    )?;

    for index in 0..ALL {
        write("packets", &format!("{index:02}-kinds"), index, &kinds())?;
    }
    places()?;
    tables()?;
    reports()?;
    slots()?;
    for (name, text) in crossmist_policy::BUILTIN {
        write_whole("policies", name, text.as_bytes())?;
    }
    for kind in ["good", "bad"] {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/tests/samples");
        for entry in std::fs::read_dir(samples.join(kind))? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                write_whole(
                    "policies",
                    &format!("{kind}-{name}"),
                    &std::fs::read(&path)?,
                )?;
            }
        }
    }
    for (name, packets) in packets() {
        for index in 0..2 {
            write("packets", &format!("{index:02}-{name}"), index, &packets)?;
        }
    }
    Ok(())
}

/// A message in slots, one in a slot that does not exist, one with a piece of each kind, and one to a program
/// whose slots seem to be in use.
fn slots() -> io::Result<()> {
    const NAME: [u8; 8] = [9, 0, 0, 0, 0, 0, 0, 0];
    let length: u32 = 300_000;
    // A `Vec` of one `Vec<u8>`, in one run.
    let mut beginning = vec![0xC1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    beginning.extend(length.to_le_bytes());
    beginning.extend([0; 4]);
    beginning.extend(NAME);
    beginning.extend([1, 0, 0, 0]);
    beginning.extend(length.to_le_bytes().repeat(2));
    let in_slot = |number: u8, slot: u8| [&[0xC5, slot, 0, 0, number, 0, 0, 0][..], &NAME].concat();
    let in_packet = [&[0xC2, 0, 0, 0, 0, 0, 0, 0][..], &NAME, &[7; 1000]].concat();
    let inputs: [(&str, &[u8], Vec<Vec<u8>>); 4] = [
        ("whole", &[0], vec![in_slot(0, 3), in_slot(1, 0)]),
        ("no-such-slot", &[0], vec![in_slot(0, 4)]),
        ("mixed", &[0], vec![in_packet, in_slot(1, 1), in_slot(2, 2)]),
        ("in-use", &[255; 1 + 255 * 8], vec![in_slot(0, 0)]),
    ];
    for (name, memory, pieces) in inputs {
        let mut input = memory.to_vec();
        for packet in std::iter::once(&beginning).chain(&pieces) {
            input.extend(u16::try_from(packet.len()).unwrap_or(0).to_le_bytes());
            input.extend(packet);
        }
        write_whole("slots", name, &input)?;
    }
    Ok(())
}

/// Stacks on which many words are addresses of the program.
fn places() -> io::Result<()> {
    let mut state = 1_u64;
    let mut random = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 16
    };
    for number in 0..8 {
        let pointer = 0x7ffd_0000_0000_u64;
        // Registers that lead to the stack, and what may be saved on it.
        let mut words: Vec<u64> = (0..14).map(|at| pointer + at * 64).collect();
        // The stack pointer and the place of the call, on either processor.
        for at in [6, 12] {
            (words[at], words[at + 1]) = (pointer, random() | 1);
        }
        for at in 0..200 {
            words.push(match random() % 3 {
                0 => pointer + at * 8,
                _ => random() | 1,
            });
        }
        let input: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        write_whole("places", &format!("stack-{number}"), &input)?;
    }
    Ok(())
}

/// Files of code with one function, of which the frames are as usual, by an expression, and without end.
fn tables() -> io::Result<()> {
    let frames: [(&str, &[u8]); 3] = [
        ("usual", &[0x0e, 16]),
        ("expression", &[0x0f, 4, 0x77, 8, 0x40, 0x22]),
        ("long", &[0; 70_000]),
    ];
    for (name, instructions) in frames {
        write_whole("tables", name, &code_file(instructions))?;
    }
    // More rows than there are, in an index that is the first section.
    let mut short = code_file(&[]);
    short[64 + 8] = 2;
    write_whole("tables", "more-rows", &short)
}

/// An ELF file with an index, frames and symbols for a function at 0x100000.
fn code_file(instructions: &[u8]) -> Vec<u8> {
    const CODE: u32 = 0x10_0000;
    let (index_at, frames_at) = (0x1000_u32, 0x2000_u32);
    let relative = |to: u32, from: u32| to.wrapping_sub(from).to_le_bytes();
    let index = [
        &[1, 0x1b, 0x03, 0x3b][..],
        &relative(frames_at, index_at + 4),
        &1u32.to_le_bytes(),
        &relative(CODE, index_at),
        &relative(frames_at + 24, index_at),
    ];
    let common = b"\x14\0\0\0\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b\x0c\x07\x08\x90\x01\0\0";
    let length = u32::try_from(13 + instructions.len()).unwrap_or(0);
    let frames = [
        &common[..],
        &length.to_le_bytes(),
        &28u32.to_le_bytes(),
        &relative(CODE, frames_at + 32),
        &0x100_u32.to_le_bytes(),
        &[0],
        instructions,
        &[0; 4],
    ];
    // Its name, a function that everybody sees, in some section.
    let head = [&41u32.to_le_bytes()[..], &[0x12, 0, 1, 0]].concat();
    let range = [u64::from(CODE), 0x100].map(u64::to_le_bytes);
    let symbols = [&[0; 24][..], &head, range.as_flattened()];
    let names = b"\0.eh_frame_hdr\0.eh_frame\0.symtab\0.strtab\0";
    // For each, where its name is, its kind, where it is in memory, what it belongs to, and what is in it.
    let sections: [(u32, u32, u32, u32, Vec<u8>); 4] = [
        (1, 1, index_at, 0, index.concat()),
        (15, 1, frames_at, 0, frames.concat()),
        (25, 2, 0, 4, symbols.concat()),
        (33, 3, 0, 0, [&names[..], b"function\0"].concat()),
    ];
    let mut contents = Vec::new();
    let mut headers = vec![0; 64];
    for (name, kind, address, link, bytes) in sections {
        let at = u64::try_from(64 + contents.len()).unwrap_or(0);
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        headers.extend([name, kind].map(u32::to_le_bytes).as_flattened());
        let longs = [0, address.into(), at, length].map(u64::to_le_bytes);
        headers.extend(longs.as_flattened());
        headers.extend([link, 0].map(u32::to_le_bytes).as_flattened());
        headers.extend([0; 16]);
        contents.extend(bytes);
    }
    let sections_at = u64::try_from(64 + contents.len()).unwrap_or(0);
    // A library for this processor (elf(5)), without segments.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0".to_vec();
    file.extend([0, 0, sections_at].map(u64::to_le_bytes).as_flattened());
    file.extend([0; 4]);
    let shorts = [64, 56, 0, 64, 5, 4_u16].map(u16::to_le_bytes);
    file.extend(shorts.as_flattened());
    [file, contents, headers].concat()
}

/// A denied call with and without a path, messages of a confined child, packets of the keeper.
fn reports() -> io::Result<()> {
    for (call, path) in [
        (2u32, &b"/etc/passwd"[..]),
        (41, b""),
        (257, b"/a\n\x1b[31mb"),
        (9, b""),
    ] {
        let length = u16::try_from(path.len()).unwrap_or(0).to_le_bytes();
        let mut note = vec![0xC3, 0];
        note.extend(length);
        note.extend(call.to_le_bytes());
        note.extend(0xc000_003e_u32.to_le_bytes());
        note.extend(1u32.to_le_bytes());
        note.extend((0..6).flat_map(|n: u64| n.to_le_bytes()));
        note.extend([0; 144]);
        note.extend(path);
        write("reports", &format!("note-{call}"), 0, &note)?;
    }
    let confined = [&[4][..], &[0; 72], &[1, 1, 0]].concat();
    let failed = [5, 3, 22, 0, 0, 0];
    let panicked = [&[1][..], &[4, 0, 0, 0], b"text", &[0, 0, 0, 0, 1], &[7; 8]].concat();
    let answers: [(&str, &[&[u8]]); 4] = [
        ("confined", &[&confined, &panicked]),
        ("twice", &[&confined, &confined]),
        ("failed", &[&failed]),
        ("answer", &[&[0, 0, 0, 0, 0]]),
    ];
    for (name, bodies) in answers {
        let packets = bodies.iter().flat_map(|body| {
            let message = crossmist_fuzz::message(body);
            [vec![u8::try_from(message.len()).unwrap_or(0)], message].concat()
        });
        write(
            "reports",
            &format!("replies-{name}"),
            1,
            &packets.collect::<Vec<_>>(),
        )?;
    }
    for (name, head) in [
        ("started", *b"S\0\0\0"),
        ("failed", *b"F\x01\0\0"),
        ("ended", *b"E\x01\x01\0"),
    ] {
        write(
            "reports",
            &format!("keeper-{name}"),
            2,
            &[&head[..], &[9; 12]].concat(),
        )?;
    }
    write(
        "reports",
        "keeper-request",
        2,
        &[&b"Q\x01\x01\0\0\0\0\0"[..], &[255; 8]].concat(),
    )
}

fn graph() -> Vec<Rc<Node>> {
    let leaf = Rc::new(Node {
        name: "leaf".into(),
        ..Node::default()
    });
    let root = Rc::new(Node {
        name: "root".into(),
        next: vec![leaf.clone(), leaf.clone()],
        other: Some(Box::default()),
    });
    vec![leaf, root]
}

fn tree() -> Tree {
    let named = Tree::Named {
        name: "name".into(),
        value: 1.5,
    };
    let map = BTreeMap::from([("key".to_owned(), Tree::Units(vec![(); 3]))]);
    Tree::Many(vec![
        Tree::One(Box::new(named)),
        Tree::Map(map),
        Tree::Optional(None),
    ])
}

/// A packet as the target reads it, with so many descriptors from one kind on.
fn packet(descriptors: u8, first: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [
        &length.to_le_bytes()[..],
        &[first << 3 | descriptors],
        bytes,
    ]
    .concat()
}

/// Messages with descriptors of each kind: a list of one, a pair, four, one behind a tag, a
/// channel end.
fn kinds() -> Vec<u8> {
    let message = |count, first, value: &[u8]| {
        let mut bytes = crossmist_fuzz::message(value);
        bytes[2] = count;
        packet(count, first, &bytes)
    };
    let mut all = Vec::new();
    for first in 0..14 {
        all.extend(message(1, first, &[1, 0, 0, 0, 0, 0]));
        all.extend(message(2, first, &[0, 0, 1, 0]));
        all.extend(message(4, first, &[0, 0, 1, 0, 2, 0, 3, 0]));
        all.extend(message(1, first, &[1, 0, 0, 0, 1, 0, 0]));
        let end = [&[1, 0, 0, 0, 0, 0, 0][..], &[0xFF; 40]].concat();
        all.extend(message(1, first, &end));
    }
    all
}

/// Messages in one packet and in several.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    let text = crossmist_fuzz::message(&body(&"text".to_owned()));

    // The header says more than the first packet holds.
    let mut first = crossmist_fuzz::message(&body(&"a longer text".to_owned()));
    first[24] = 5;
    let rest = first.split_off(36);
    let mut pieces = packet(0, 0, &first);
    for (number, part) in (0..).zip(rest.chunks(8)) {
        pieces.extend(packet(0, 0, &piece(number, part)));
    }

    // A run, for which the value has the length only.
    let mut first = crossmist_fuzz::message(&65_536u32.to_le_bytes());
    first[12] = 1;
    first[16..20].copy_from_slice(&65_536u32.to_le_bytes());
    first[24] = 5;
    first.extend_from_slice(&65_536u32.to_le_bytes());
    let mut run = packet(0, 0, &first);
    for number in 0..2 {
        run.extend(packet(0, 0, &piece(number, &[b'x'; 32_768])));
    }

    vec![
        ("text", packet(0, 0, &text)),
        ("twice", packet(0, 0, &text).repeat(2)),
        ("empty", packet(0, 0, &[])),
        ("pieces", pieces),
        ("run", run),
        ("surplus", packet(1, 0, &text)),
    ]
}

/// A piece of the message with the name 5.
fn piece(number: u8, part: &[u8]) -> Vec<u8> {
    let head = [0xC2, 0, 0, 0, number, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    [&head, part].concat()
}

/// The bytes of a value, without the header of its message.
fn body<T: Object>(value: &T) -> Vec<u8> {
    to_bytes(value)
        .map(|bytes| bytes[32..].to_vec())
        .unwrap_or_default()
}

fn write(target: &str, name: &str, index: u8, input: &[u8]) -> io::Result<()> {
    write_whole(target, name, &[&[index], input].concat())
}

fn write_whole(target: &str, name: &str, input: &[u8]) -> io::Result<()> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), input)
}
