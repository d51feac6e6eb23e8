use crossmist::func;

#[func(sandbox = "parser", raise(wall_time = "1s", processes = 4))]
fn raises_nothing_and_a_right() {}

#[func(sandbox = "parser", raise(wall_time = "long"))]
fn unreadable() {}

#[func(sandbox = "parser", wall_time = "5s", raise(wall_time = "5min"))]
fn both() {}

#[func(sandbox = "parser", raise)]
fn without_a_limit() {}

#[func(sandbox = dynamic, raise(wall_time = "5min"))]
fn dynamic() {}

#[func(raise(wall_time = "5min"))]
fn unconfined() {}

fn main() {}
