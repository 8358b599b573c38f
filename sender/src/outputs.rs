//! Where results go besides the table: opened before the run, so that a wrong path costs no time,
//! fed during it, and filled after it. What goes wrong with one does not cost the others.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use wire::time::Utc;

use crate::config::{Config, JsonTo};
use crate::document_file::DocumentFile;
use crate::error::Error;
use crate::measure::interval::Interval;
use crate::measure::recent::Recent;
use crate::outcome::Outcome;
use crate::recorder::{PacketFile, Recorder, Wanted};
use crate::report::csv::{IntervalCsv, PacketCsv};
use crate::report::hdr_log::HdrLog;
use crate::report::sink::{self, OutputError};
use crate::report::{html, json, page};
use crate::schedule::Pace;

/// Length of the intervals in files unless the user names one.
const INTERVAL: Duration = Duration::from_secs(1);

/// The outputs of a run.
#[derive(Debug)]
pub struct Outputs {
    json: Option<Document>,
    page: Option<Document>,
    intervals: Option<Growing<IntervalCsv<BufWriter<File>>>>,
    hdr_log: Option<Growing<HdrLog<BufWriter<File>>>>,
    /// What the head of a log says.
    about: String,
    /// The first failure of a file that grows during the run; the others go on.
    failure: Option<Error>,
}

/// A file that grows during the run. What is written into it counts from when the run begins.
#[derive(Debug)]
enum Growing<T> {
    Opened(BufWriter<File>, String),
    Begun(T),
    /// Its head could not be written.
    Failed,
}

impl<T> Growing<T> {
    fn open(what: &'static str, path: &Path) -> Result<Self, Error> {
        let (file, name) = sink::create(what, path)?;
        Ok(Self::Opened(file, name))
    }

    /// Begins it, if need be, and writes.
    fn write(
        &mut self,
        begin: impl FnOnce(BufWriter<File>, String) -> Result<T, OutputError>,
        write: impl FnOnce(&mut T) -> Result<(), OutputError>,
    ) -> Result<(), OutputError> {
        if let Self::Opened(..) = self {
            let Self::Opened(file, name) = std::mem::replace(self, Self::Failed) else {
                return Ok(());
            };
            *self = Self::Begun(begin(file, name)?);
        }
        match self {
            Self::Begun(output) => write(output),
            Self::Opened(..) | Self::Failed => Ok(()),
        }
    }
}

/// Where a document goes.
#[derive(Debug)]
enum Document {
    Stdout,
    File(PathBuf, DocumentFile),
}

impl Document {
    fn file(path: &Path) -> Result<Self, Error> {
        DocumentFile::open(path)
            .map(|file| Self::File(path.to_owned(), file))
            .map_err(|source| cannot_write(path, source))
    }

    fn write(self, text: &str) -> Result<(), Error> {
        match self {
            Self::Stdout => io::stdout()
                .write_all(text.as_bytes())
                .and_then(|()| io::stdout().flush())
                .map_err(Error::Output),
            Self::File(path, file) => file
                .write(text)
                .map_err(|source| cannot_write(&path, source)),
        }
    }
}

fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::Document {
        path: path.to_owned(),
        source,
    }
}

impl Outputs {
    /// Opens what the user asked for.
    ///
    /// # Errors
    ///
    /// One of the files cannot be written.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let output = &config.output;
        Ok(Self {
            json: match &output.json {
                None => None,
                Some(JsonTo::Stdout) => Some(Document::Stdout),
                Some(JsonTo::File(path)) => Some(Document::file(path)?),
            },
            page: output.report.as_deref().map(Document::file).transpose()?,
            intervals: output
                .csv_intervals
                .as_deref()
                .map(|path| Growing::open("intervals", path))
                .transpose()?,
            hdr_log: output
                .hdr_log
                .as_deref()
                .map(|path| Growing::open("the histogram log", path))
                .transpose()?,
            about: format!("sender {} to {}", env!("CARGO_PKG_VERSION"), config.target),
            failure: None,
        })
    }

    /// What records for these outputs and, if there is one, for the live view; `None` if nothing
    /// does.
    ///
    /// # Errors
    ///
    /// The file of the packets cannot be written.
    pub fn recorder(&self, config: &Config, live: bool) -> Result<Option<Mutex<Recorder>>, Error> {
        let output = &config.output;
        let width = output.interval_report.unwrap_or(INTERVAL);
        let by_interval =
            output.interval_report.is_some() || self.intervals.is_some() || self.hdr_log.is_some();
        let mut recorder = Recorder::new(Wanted {
            intervals: by_interval.then_some(width),
            overview: self.page.is_some().then_some(config.sessions),
        });
        recorder.recent = live.then(Recent::default);
        if let Some(path) = &output.csv_packets {
            recorder.packets = Some(PacketFile::new(PacketCsv::create(path)?));
        }
        Ok((!recorder.is_idle()).then(|| Mutex::new(recorder)))
    }

    /// Takes a complete interval of a run that began at `origin`.
    pub fn interval(&mut self, interval: &Interval, origin: Utc) {
        let about = &self.about;
        let written = [
            self.intervals.as_mut().map(|csv| {
                csv.write(
                    |file, name| Ok(IntervalCsv::new(file, name, origin)),
                    |csv| csv.write(interval),
                )
            }),
            self.hdr_log.as_mut().map(|log| {
                log.write(
                    |file, name| HdrLog::new(file, name, origin, about),
                    |log| log.write(interval),
                )
            }),
        ];
        for error in written.into_iter().flatten().filter_map(Result::err) {
            self.failure.get_or_insert(error.into());
        }
    }

    /// Takes the last intervals of the run, and what else the recorder holds.
    /// Each interval is handed to `each` as well.
    ///
    /// # Errors
    ///
    /// The first file that could not be written; the others are.
    pub fn finish(
        mut self,
        config: &Config,
        outcome: &Outcome,
        recorder: Option<Mutex<Recorder>>,
        mut each: impl FnMut(&Interval),
    ) -> Result<(), Error> {
        let mut overview = None;
        if let Some(recorder) = recorder {
            let mut recorder = recorder
                .into_inner()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            // The next probe would have been due one interval later.
            let pace = config.timing.times.pace();
            let pause = pace.map_or(Duration::ZERO, Pace::interval);
            if let Some(origin) = recorder.origin() {
                for interval in &recorder.last_intervals(pause) {
                    self.interval(interval, origin);
                    each(interval);
                }
            }
            if let Some(Err(error)) = recorder.packets.take().map(PacketFile::finish) {
                self.failure.get_or_insert(error.into());
            }
            overview = recorder.take_overview();
        }
        let Self {
            json,
            page,
            failure,
            ..
        } = self;
        let documented = json.map_or(Ok(()), |document| {
            let text = json::render(outcome, config.output.per_session).map_err(io::Error::from);
            document.write(&text.map_err(Error::Output)?)
        });
        let shown = match (page, overview) {
            (Some(document), Some(overview)) => {
                let page = page::of(config, outcome, &overview);
                document.write(&html::render(&page))
            }
            _ => Ok(()),
        };
        failure.map_or(Ok(()), Err).and(documented).and(shown)
    }
}
