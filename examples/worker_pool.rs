//! A pool of four processes that run whatever function they are sent.
//!
//! Functions are code, so the channels to the workers are trusted ones. Tasks go to whichever
//! worker is free. The results return in any order, each to the task that asked for it.

use std::any::Any;
use std::sync::mpsc;
use std::thread;

use crossmist::{BindValue, Child, Duplex, FnOnceObject, Object, func, lambda, trusted};

/// A result of any type. Only the caller knows which.
#[crossmist::object]
trait AnyObject: Object {
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<T: Object> AnyObject for T {
    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

type Task = Box<dyn FnOnceObject<(), Output = Box<dyn AnyObject>> + Send>;

#[func]
fn work(mut channel: Duplex<Box<dyn AnyObject>, Task>) {
    while let Ok(Some(task)) = channel.recv() {
        let result = task.call_object_once(());
        if channel.send(&result).is_err() {
            break;
        }
    }
}

/// Runs in a worker: calls the function and forgets the type of its result.
#[func]
fn erase<R: Object, F: FnOnceObject<(), Output = R>>(f: F) -> Box<dyn AnyObject> {
    Box::new(f.call_object_once(()))
}

struct Worker {
    channel: Duplex<Task, Box<dyn AnyObject>>,
    child: Child<()>,
}

struct Pool {
    idle: mpsc::Sender<Worker>,
    next: std::sync::Mutex<mpsc::Receiver<Worker>>,
    size: usize,
}

impl Pool {
    fn new(size: usize) -> Result<Self, crossmist::Error> {
        let (idle, next) = mpsc::channel();
        for _ in 0..size {
            let (channel, theirs) = trusted::duplex()?;
            let child = work.spawn(theirs)?;
            let _ = idle.send(Worker { channel, child });
        }
        Ok(Self {
            idle,
            next: next.into(),
            size,
        })
    }

    /// Runs `f` in a free worker, and waits for one if necessary.
    fn run<R: Object>(
        &self,
        f: impl FnOnceObject<(), Output = R> + Send,
    ) -> Result<R, Box<dyn std::error::Error>> {
        let mut worker = self.next.lock().map_err(|e| e.to_string())?.recv()?;
        let task: Task = Box::new(erase.bind_value(f));
        let result = worker.channel.request(&task)?;
        self.idle.send(worker)?;
        let result = result
            .into_any()
            .downcast()
            .map_err(|_| "a result of another type")?;
        Ok(*result)
    }

    /// Ends the workers, and waits for them.
    fn close(self) -> Result<(), Box<dyn std::error::Error>> {
        for worker in self.next.into_inner()?.iter().take(self.size) {
            drop(worker.channel);
            worker.child.join()?;
        }
        Ok(())
    }
}

#[crossmist::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = Pool::new(4)?;
    let pool_ref = &pool;
    thread::scope(|scope| {
        let tasks = (1..=5u32).flat_map(|x| (1..=5u32).map(move |y| (x, y)));
        let threads: Vec<_> = tasks
            .map(|(x, y)| {
                scope.spawn(move || {
                    let power = lambda! { move(x: u32, y: u32) || -> u64 { u64::from(x).pow(y) } };
                    pool_ref
                        .run(power)
                        .map(|z| format!("{x}^{y} = {z}"))
                        .map_err(|e| e.to_string())
                })
            })
            .collect();
        for thread in threads {
            println!("{}", thread.join().map_err(|_| "a thread panicked")??);
        }
        Ok::<(), String>(())
    })?;
    // Results of another type, from the same workers.
    let name = "worker".to_string();
    let greeting = lambda! { move(name: String) || -> String { format!("hello from {name} {}", std::process::id()) } };
    println!("{}", pool.run(greeting)?);
    pool.close()
}
