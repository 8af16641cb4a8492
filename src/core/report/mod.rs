//! What people and programs are shown: plans, refusals, runs, the state of things.
//!
//! Responsible for: turning data that is already complete into text of 80 columns, Markdown, a page of HTML, SQL or
//! versioned JSON, into a writer it is given. Not for: finding anything out, deciding, or knowing a terminal. `cli`
//! uses it.

mod evidence;
mod guard;
mod html;
mod json;
mod markdown;
mod outage;
mod page;
mod plan;
mod plan_markdown;
mod plan_sql;
mod refusal;
mod run;
mod run_text;
mod runs;
mod status;
mod status_text;
mod timeline;

pub use evidence::write_evidence;
pub use guard::write_judgement;
pub use html::write_report_html;
pub use json::{API_VERSION, Kind, write_json};
pub use markdown::write_report_markdown;
pub use outage::{Outage, OutagePart, Told};
pub use page::{Page, Paint, count, limit, wrap};
pub use plan::{Bodies, write_plan};
pub use plan_markdown::write_plan_markdown;
pub use plan_sql::write_plan_sql;
pub use refusal::{write_finding, write_findings};
pub use run::{Pause, Report, StepReport};
pub use run_text::write_report;
pub use runs::{RunSummary, write_runs};
pub use status::{MigrationStatus, Reach, SchemaMatch, Standing, Status, WorkloadStatus, survey, survey_workloads};
pub use status_text::{write_migrations, write_status};

#[cfg(test)]
mod tests;
