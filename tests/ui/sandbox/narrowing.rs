use crossmist::func;

#[func(sandbox = "parser", wall_tim = "2s")]
fn unknown_key() {}

#[func(sandbox = "parser", memory = "2GiB", threads = 17)]
fn widening() {}

#[func(sandbox = "parser", cpu_time = "soon", deny = "opennat")]
fn unreadable() {}

fn main() {}
