use crossmist::func;

#[func(callback)]
fn push(list: &mut Vec<i32>, number: i32) {
    list.push(number);
}

fn main() {
    let _ = push.run(vec![], 7);
}
