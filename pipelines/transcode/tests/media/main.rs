//! The real child on real files: generated with the FFmpeg command line when the tests run, transcoded in
//! the sandbox, and judged with ffprobe. The test program is its own child, as the binary will be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test program without the usual harness")]

mod accidents;
mod clips;
mod collect;
mod ffprobe;
mod jobs;
mod outputs;
mod refusals;
mod walls;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("transcode-child") {
        return transcode_stage::child::child_main().unwrap_or_else(|error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        });
    }
    // Ways for a child to misbehave before it says a word.
    match std::env::args().nth(1).as_deref() {
        Some("crash") => std::process::abort(),
        Some("leave") => return ExitCode::from(3),
        Some("babble") => {
            let mut socket =
                std::fs::File::from(std::os::fd::AsFd::as_fd(&std::io::stdin()).try_clone_to_owned().unwrap());
            std::io::Write::write_all(&mut socket, &[0xff; 64]).unwrap();
            loop {
                std::thread::park();
            }
        }
        _ => {}
    }
    let arguments = Arguments::from_args();
    let trials = [outputs::trials(), refusals::trials(), accidents::trials(), walls::trials(), jobs::trials()]
        .into_iter()
        .flatten();
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// A test that runs on a runtime of its own.
fn trial<F>(name: &'static str, test: impl FnOnce() -> F + Send + 'static) -> Trial
where
    F: Future<Output = ()>,
{
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test());
        Ok::<(), Failed>(())
    })
}
