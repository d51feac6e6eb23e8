//! The service under a load of good and hostile pictures: every upload gets its answer.

mod pictures;
mod service;

use std::collections::BTreeMap;
use std::sync::Arc;

use crossmist_svg::render::{load_fonts, render};
use pictures::Picture;
use service::{Answer, Service};

/// Renders a picture in this process, unconfined.
fn unconfined(svg: &str) -> Vec<u8> {
    load_fonts();
    render.call_unconfined(svg.as_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_upload_gets_its_answer_and_each_good_one_the_right_picture() {
    const CLIENTS: usize = 12;
    const ROUNDS: usize = 10;

    let service = Arc::new(Service::start());
    let (good, hostile, slow) = (pictures::good(), pictures::hostile(), pictures::slow());
    let expected: Vec<Vec<u8>> = good
        .iter()
        .map(|picture| unconfined(&picture.svg))
        .collect();
    let good: Arc<Vec<(Picture, Vec<u8>)>> = Arc::new(good.into_iter().zip(expected).collect());
    let bad: Arc<Vec<Picture>> = Arc::new(hostile);
    let slow = Arc::new(slow);

    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let (service, good) = (Arc::clone(&service), Arc::clone(&good));
        let (bad, slow) = (Arc::clone(&bad), Arc::clone(&slow));
        clients.push(tokio::spawn(async move {
            let mut answers = Vec::new();
            for round in 0..ROUNDS {
                let turn = client * ROUNDS + round;
                // Each slow picture once, since it takes all the time that it may.
                let picture = match (round, slow.get(client)) {
                    (0, Some(picture)) => picture,
                    _ if turn.is_multiple_of(3) => &bad[turn / 3 % bad.len()],
                    _ => {
                        let (picture, png) = &good[turn % good.len()];
                        let answer = service.render_patiently(&picture.svg).await;
                        assert_eq!(answer.status, 200, "{}: {}", picture.name, answer.text());
                        assert!(answer.body == *png, "{} is another picture", picture.name);
                        answers.push(("good", answer));
                        continue;
                    }
                };
                let answer = service.render_patiently(&picture.svg).await;
                assert_eq!(answer.status, 422, "{}: {}", picture.name, answer.text());
                answers.push((picture.name, answer));
            }
            answers
        }));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for client in clients {
        for (name, _) in client.await.unwrap() {
            *counts.entry(name).or_default() += 1;
        }
    }
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), CLIENTS * ROUNDS);
    assert_eq!(
        counts.len(),
        1 + bad.len() + slow.len(),
        "each kind had its turn"
    );
    let service = Arc::into_inner(service).unwrap();
    let said = service.stop().await;
    assert!(
        said.starts_with(&format!("{} pictures", CLIENTS * ROUNDS)),
        "{said}"
    );
}

#[tokio::test]
async fn a_busy_service_says_so_and_answers_what_it_has_before_it_stops() {
    let service = Service::start();
    let slow = &pictures::slow()[0];
    let mut answers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        answers.spawn(service.render(&slow.svg));
    }
    // There are four workers, who are busy for seconds. The other four requests are answered at once.
    for _ in 0..4 {
        let answer = answers.join_next().await.unwrap().unwrap();
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.retry_after.as_deref(), Some("1"));
    }
    let stopped = service.stop().await;
    for answer in answers.join_all().await {
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    assert!(stopped.starts_with("4 pictures"), "{stopped}");
}

#[tokio::test]
async fn a_picture_is_what_its_text_says() {
    let service = Service::start();
    let answer = service.render(include_str!("../samples/hills.svg")).await;
    let (width, pixels) = decode(&answer);
    let pixel = |x: usize, y: usize| pixels[y * width + x];
    assert_eq!((width, pixels.len() / width), (640, 420));
    assert_eq!(pixel(470, 130), [0xff, 0xfb, 0xe6]);
    assert_eq!(pixel(320, 410), [0x2d, 0x2a, 0x4a]);
    // The title, which takes a font.
    let ink = (40..80).flat_map(|y| (32..330).map(move |x| (x, y)));
    let ink = ink
        .filter(|&(x, y)| pixel(x, y) == [0x2d, 0x2a, 0x4a])
        .count();
    assert!(ink > 1000, "{ink} pixels of text");
    assert_eq!(answer.kind, "image/png");
    service.stop().await;
}

#[tokio::test]
async fn a_picture_larger_than_any_screen_is_scaled_down() {
    let service = Service::start();
    let svg = pictures::sized("1000000000", "10");
    let (width, pixels) = decode(&service.render(&svg).await);
    assert_eq!((width, pixels.len() / width), (1600, 1));
    service.stop().await;
}

#[tokio::test]
async fn a_picture_shows_no_file_of_the_server() {
    let folder = std::env::temp_dir().join(format!("crossmist-svg-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let secret = folder.join("secret.png");
    std::fs::write(&secret, unconfined(&pictures::filled("red"))).unwrap();
    let svg = pictures::embedding(&secret);

    // The control: unconfined, the same renderer shows it.
    let control = Answer::with(unconfined(&svg));
    assert!(decode(&control).1.contains(&[255, 0, 0]));

    let service = Service::start();
    let (_, pixels) = decode(&service.render(&svg).await);
    assert!(pixels.iter().all(|pixel| *pixel == [0, 0, 255]));
    service.stop().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn what_is_no_upload_is_refused() {
    let service = Service::start();
    let long = " ".repeat(3 << 20);
    assert_eq!(service.render(&long).await.status, 413);
    assert_eq!(service.post_plainly("no form").await.status, 400);
    let page = service.page().await;
    assert_eq!(
        (page.status, &*page.kind),
        (200, "text/html; charset=utf-8")
    );
    assert!(page.text().contains("<form action=\"/render\""));
    service.stop().await;
}

/// Returns the width of a picture, and its pixels without transparency.
fn decode(answer: &Answer) -> (usize, Vec<[u8; 3]>) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let decoder = png::Decoder::new(std::io::Cursor::new(&answer.body));
    let mut reader = decoder.read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    let pixels = bytes
        .chunks_exact(4)
        .map(|pixel| [pixel[0], pixel[1], pixel[2]]);
    (info.width as usize, pixels.collect())
}
