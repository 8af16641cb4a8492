//! `spec.database`.

use super::error::Problem;
use super::read::{Log, Spot};
use super::shape::{Database, Tool, UrlSource, WorkloadRef};
use super::url;

const TOOLS: [(&str, Option<Tool>); 10] = [
    ("auto", None),
    ("stepback", Some(Tool::Stepback)),
    ("sqlx", Some(Tool::Sqlx)),
    ("golang-migrate", Some(Tool::GolangMigrate)),
    ("dbmate", Some(Tool::Dbmate)),
    ("goose", Some(Tool::Goose)),
    ("diesel", Some(Tool::Diesel)),
    ("flyway", Some(Tool::Flyway)),
    ("refinery", Some(Tool::Refinery)),
    ("sqitch", Some(Tool::Sqitch)),
];

pub(super) fn read(at: &Spot<'_>, workloads: &[WorkloadRef], log: &mut Log) -> Option<Database> {
    let mut fields = at.fields(log)?;
    let url = "{env: NAME}, {file: PATH}, {secret: NAME, key: KEY} or a URL without a password";
    let url = fields.need("url", url, log).and_then(|at| read_url(&at, log));
    let direct_url = fields.get("directUrl").and_then(|at| read_url(&at, log));
    let migrations = fields
        .get("migrations")
        .and_then(|at| at.text("a folder", log))
        .unwrap_or("migrations");
    let layout = fields.get("layout").and_then(|at| at.one_of(&TOOLS, log)).flatten();
    let ledger = fields.get("ledger").and_then(|at| at.one_of(&TOOLS, log)).flatten();
    let state_schema = fields
        .get("stateSchema")
        .and_then(|at| at.parse("a schema's name", log, schema_name));
    let app_roles = fields
        .get("appRoles")
        .map(|at| at.list("a list of database roles", log))
        .unwrap_or_default();
    let app_roles = app_roles
        .iter()
        .filter_map(|at| at.text("a role's name", log))
        .map(str::to_owned)
        .collect();
    let hosted_by = fields.get("hostedBy").and_then(|at| {
        let names: Vec<_> = workloads
            .iter()
            .map(|workload| (workload.name.as_str(), &workload.name))
            .collect();
        at.one_of(&names, log).cloned()
    });
    fields.finish(log);
    Some(Database {
        url: url?,
        direct_url,
        migrations: migrations.to_owned(),
        layout,
        ledger,
        state_schema,
        app_roles,
        hosted_by,
    })
}

fn read_url(at: &Spot<'_>, log: &mut Log) -> Option<UrlSource> {
    if let super::tree::Value::Scalar(text) = &at.node.value {
        if url::holds_password(text) {
            log.add(at.node.place, Problem::PasswordInUrl { path: at.path.clone() });
            return None;
        }
        return at.parse("a URL", log, |text| {
            url::check(text).map(|()| UrlSource::Literal(text.to_owned()))
        });
    }
    let mut fields = at.fields(log)?;
    let given = ["env", "file", "secret"]
        .into_iter()
        .filter(|key| fields.has(key))
        .count();
    let env = fields
        .get("env")
        .and_then(|at| at.parse("a variable's name", log, variable));
    let file = fields.get("file").and_then(|at| at.parse("a path", log, path));
    let mut text = |key| fields.get(key).and_then(|at| at.text("a name", log)).map(str::to_owned);
    let (secret, key) = (text("secret"), text("key"));
    if given != 1 {
        let why = "expected exactly one of {env: NAME}, {file: PATH}, {secret: NAME, key: KEY}";
        log.invalid(at, why);
    } else if secret.is_some() != key.is_some() {
        log.invalid(at, "`secret` and `key` belong together: {secret: NAME, key: KEY}");
    }
    fields.finish(log);
    match (env, file, secret, key) {
        (Some(name), ..) => Some(UrlSource::Env(name)),
        (_, Some(path), ..) => Some(UrlSource::File(path)),
        (_, _, Some(name), Some(key)) => Some(UrlSource::Secret { name, key }),
        _ => None,
    }
}

/// The text is not repeated when it is wrong: somebody may have put the URL itself there.
fn variable(text: &str) -> Result<String, &'static str> {
    let is_name = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    is_name
        .then(|| text.to_owned())
        .ok_or("this is no variable's name: letters, digits and underscores")
}

/// As with [`variable`]: a URL is no path, and is not repeated.
fn path(text: &str) -> Result<String, &'static str> {
    let is_path = !text.contains("://") && !url::has_scheme(text);
    is_path
        .then(|| text.to_owned())
        .ok_or("this is a URL, and no path of a file that holds one; a URL with a password goes into {env: NAME}")
}

/// It may become a prefix of table names on engines that have no schemas, so it needs no quotes and leaves room.
fn schema_name(text: &str) -> Result<String, String> {
    let is_name = text.len() <= 40
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !text.starts_with(|c: char| c.is_ascii_digit());
    is_name.then(|| text.to_owned()).ok_or_else(|| {
        format!("`{text}` is no schema for our tables: at most 40 lower-case letters, digits and underscores, no digit first")
    })
}
