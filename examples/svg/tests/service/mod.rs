//! The service as its users see it: a process that listens on a port.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Response};

pub struct Service {
    process: Child,
    output: BufReader<ChildStdout>,
    url: String,
    client: Client,
}

pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub retry_after: Option<String>,
    pub body: Vec<u8>,
}

impl Service {
    /// Starts the service on a free port.
    pub fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_crossmist-svg"))
            .arg("127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut url = String::new();
        output.read_line(&mut url).unwrap();
        Self {
            process,
            output,
            url: url.trim_end().to_owned(),
            client: Client::new(),
        }
    }

    /// Uploads a picture.
    pub fn render(&self, svg: &str) -> impl Future<Output = Answer> + use<> {
        let part = Part::text(svg.to_owned()).file_name("picture.svg");
        let form = Form::new().part("picture", part);
        let request = self
            .client
            .post(format!("{}/render", self.url))
            .multipart(form);
        async { Answer::of(request.send().await.unwrap()).await }
    }

    /// Uploads a picture, and tries again while the service is busy.
    pub async fn render_patiently(&self, svg: &str) -> Answer {
        loop {
            let answer = self.render(svg).await;
            if answer.status != 503 {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Posts something else than a form.
    pub async fn post_plainly(&self, text: &'static str) -> Answer {
        let request = self.client.post(format!("{}/render", self.url)).body(text);
        Answer::of(request.send().await.unwrap()).await
    }

    pub async fn page(&self) -> Answer {
        Answer::of(self.client.get(&self.url).send().await.unwrap()).await
    }

    /// Asks the service to stop, waits until it has, and returns what it said last.
    pub async fn stop(mut self) -> String {
        let process = Pid::from_raw(self.process.id().try_into().unwrap());
        kill(process, Signal::SIGTERM).unwrap();
        let waits = tokio::task::spawn_blocking(move || {
            let mut said = String::new();
            self.output.read_to_string(&mut said).unwrap();
            assert!(self.process.wait().unwrap().success());
            said
        });
        waits.await.unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // After a test that failed. Otherwise it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Answer {
    async fn of(response: Response) -> Self {
        let header = |name| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Self {
            status: response.status().as_u16(),
            kind: header(CONTENT_TYPE).unwrap_or_default(),
            retry_after: header(RETRY_AFTER),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    /// The answer that a picture would come with.
    pub fn with(body: Vec<u8>) -> Self {
        Self {
            status: 200,
            kind: "image/png".to_owned(),
            retry_after: None,
            body,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
