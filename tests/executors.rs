//! What a runtime's thread does not wait for: the end of a child that was killed, and the reader of what
//! children print.

mod support;

use std::process::Stdio;

use crossmist::{Sender, channel, func};
use support::{state, wait_until_gone};

fn main() {
    crossmist::init();
    support::main(
        cases![
            a_dropped_child_holds_no_executor_up,
            what_children_printed_is_there_though_the_program_ends_at_once,
        ],
        cases![helper_prints_and_returns],
    );
}

fn block_on<R>(work: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(work)
}

/// Has so much memory that the kernel takes a while to free it.
#[func(sandbox = "worker")]
fn is_large(mut ready: Sender<()>) {
    let memory = vec![1_u8; 96 << 20];
    ready.send(&()).unwrap();
    std::thread::sleep(support::stays());
    assert_eq!(std::hint::black_box(memory)[0], 1);
}

fn a_dropped_child_holds_no_executor_up() {
    let is_alive = |process| state(process).is_some_and(|state| state != 'Z');
    // The control: a thread waits until it is gone, if that takes no longer than a tenth of a second.
    let ended = (0..50).any(|_| {
        let (ready, mut is_ready) = channel().unwrap();
        let call = is_large.builder().kill_on_drop(true);
        let child = call.spawn(ready).unwrap();
        is_ready.recv().unwrap().unwrap();
        let process = child.id().unwrap();
        drop(child);
        !is_alive(process)
    });
    assert!(ended, "a thread never waits for the end");
    // This thread may lose its processor for so long that the child is gone when it looks.
    let went_on = (0..50).any(|_| {
        let process = block_on(async {
            let (ready, is_ready) = channel().unwrap();
            let mut is_ready: crossmist::tokio::Receiver<()> = is_ready.into();
            let call = is_large.builder().kill_on_drop(true);
            let child = call.spawn_tokio(ready).await.unwrap();
            is_ready.recv().await.unwrap().unwrap();
            let process = child.id().unwrap();
            drop(child);
            is_alive(process).then_some(process)
        });
        process
            .inspect(|process| wait_until_gone(*process))
            .is_some()
    });
    assert!(went_on, "the drop waited for the end each time");
}

#[func(sandbox = "parser")]
fn prints(number: u32) {
    eprintln!("printed {number}");
}

fn helper_prints_and_returns() {
    block_on(async {
        for number in 0..20 {
            prints.run_tokio(number).await.unwrap();
        }
    });
}

fn what_children_printed_is_there_though_the_program_ends_at_once() {
    for _ in 0..5 {
        let mut program = support::this_program("helper_prints_and_returns");
        let output = program.stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        for number in 0..20 {
            assert!(text.contains(&format!("printed {number}\n")), "{text}");
        }
    }
}
