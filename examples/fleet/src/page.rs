//! The pages. Names of files and reports come from strangers: `maud` escapes what it is given.

use maud::{DOCTYPE, Markup, html};

use crate::store::{Counts, Picture};

/// Returns a page with a form, and the latest pictures. It loads itself again while there is work.
#[must_use]
pub fn index(counts: Counts, pictures: &[Picture]) -> Markup {
    let content = html! {
        form action="/pictures" method="post" enctype="multipart/form-data" {
            label for="files" { "Pictures" }
            input #files type="file" name="pictures" multiple required;
            button { "Make thumbnails" }
        }
        p.counts role="status" {
            span { b { (counts.waiting) } " waiting" }
            span { b { (counts.done) } " done" }
            span { b { (counts.dead) } @if counts.dead == 1 { " dead letter" } @else { " dead letters" } }
        }
        @if pictures.is_empty() {
            p.empty { "No pictures yet. PNG, JPEG, GIF, WebP and TIFF become thumbnails." }
        }
        ul.pictures {
            @for picture in pictures {
                li { (card(picture)) }
            }
        }
    };
    frame("Fleet", counts.waiting > 0, &content)
}

/// Returns the page of a picture, with the report on it if it failed.
#[must_use]
pub fn picture(picture: &Picture, report: Option<&str>) -> Markup {
    let content = html! {
        p { a href="/" { "All pictures" } }
        h2 { (picture.name) }
        @if picture.width.is_some() { (thumbnail(picture)) }
        dl {
            dt { "State" } dd { (badge(&picture.state)) }
            dt { "Size" } dd { (picture.bytes) " bytes" }
            dt { "Deliveries" } dd { (picture.attempts) }
            @if let Some(worker) = &picture.worker { dt { "Worker" } dd { (worker) } }
            @if let Some(seconds) = picture.seconds {
                dt { "Time" } dd { (format!("{seconds:.2} s from upload to end")) }
            }
        }
        @if let Some(report) = report {
            h3 { "Report" }
            pre { (report) }
        }
    };
    let is_open = !matches!(picture.state.as_str(), "done" | "dead");
    frame(&picture.name, is_open, &content)
}

fn card(picture: &Picture) -> Markup {
    html! {
        a href={ "/pictures/" (picture.id) } {
            (thumbnail(picture))
            span.name { (picture.name) }
            (badge(&picture.state))
        }
    }
}

fn thumbnail(picture: &Picture) -> Markup {
    html! {
        span.frame {
            @if let (Some(width), Some(height)) = (picture.width, picture.height) {
                img src={ "/pictures/" (picture.id) "/thumbnail" } alt={ "Thumbnail of " (picture.name) }
                    width=(width) height=(height);
            }
        }
    }
}

fn badge(state: &str) -> Markup {
    let text = match state {
        "taken" => "being done",
        "retry" => "to be tried again",
        "dead" => "dead letter",
        other => other,
    };
    html! { span class={ "state " (state) } { (text) } }
}

fn frame(title: &str, is_reloaded: bool, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                @if is_reloaded { meta http-equiv="refresh" content="2"; }
                title { (title) }
                link rel="stylesheet" href="/page.css";
            }
            body {
                header { h1 { a href="/" { "Fleet" } } p { "Each picture is decoded in a confined process of its own." } }
                main { (content) }
            }
        }
    }
}
