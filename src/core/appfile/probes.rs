//! `spec.probes`.

use std::time::Duration;

use super::read::{Log, Spot};
use super::shape::{Ask, Probe};

pub(super) fn read(at: &Spot<'_>, log: &mut Log) -> Vec<Probe> {
    let items = at.list("a list of probes", log);
    items.iter().filter_map(|at| read_one(at, log)).collect()
}

fn read_one(at: &Spot<'_>, log: &mut Log) -> Option<Probe> {
    let mut fields = at.fields(log)?;
    let mut asks = Vec::new();
    for kind in ["http", "https", "tcp", "sql", "exec"] {
        if let Some(at) = fields.get(kind) {
            asks.push(match kind {
                "http" | "https" => read_http(&at, kind == "https", log),
                "tcp" => read_tcp(&at, log),
                "sql" => at.text("a query", log).map(|query| Ask::Sql {
                    query: query.to_owned(),
                }),
                _ => read_exec(&at, log),
            });
        }
    }
    let successes = fields.get("successes").and_then(|at| at.count(1000, log)).unwrap_or(3);
    let period = fields
        .get("period")
        .and_then(|at| at.duration(log))
        .unwrap_or(Duration::from_secs(1));
    let timeout = fields
        .get("timeout")
        .and_then(|at| at.duration(log))
        .unwrap_or(Duration::from_secs(120));
    fields.finish(log);
    if asks.len() != 1 {
        log.invalid(
            at,
            format_args!(
                "a probe asks one of http, https, tcp, sql, exec; this one asks {}",
                asks.len()
            ),
        );
    }
    // The first try is at once, so n successes take n - 1 periods.
    if period.checked_mul(successes - 1).is_none_or(|needed| needed > timeout) {
        log.invalid(
            at,
            format_args!("{successes} successes with the period between them do not fit into the timeout"),
        );
    }
    Some(Probe {
        ask: asks.pop()??,
        successes,
        period,
        timeout,
    })
}

fn read_port(at: Option<Spot<'_>>, log: &mut Log) -> Option<u16> {
    at?.count(65_535, log)
}

fn read_http(at: &Spot<'_>, tls: bool, log: &mut Log) -> Option<Ask> {
    let mut fields = at.fields(log)?;
    let path = fields.get("path").map_or(Some("/".to_owned()), |at| {
        at.parse("a path", log, |text| {
            text.starts_with('/')
                .then(|| text.to_owned())
                .ok_or_else(|| format!("`{text}` does not begin with a slash"))
        })
    });
    let port = fields.need("port", "the pod's port", log);
    fields.finish(log);
    Some(Ask::Http {
        tls,
        port: read_port(port, log)?,
        path: path?,
    })
}

fn read_tcp(at: &Spot<'_>, log: &mut Log) -> Option<Ask> {
    let mut fields = at.fields(log)?;
    let port = fields.need("port", "the pod's port", log);
    fields.finish(log);
    Some(Ask::Tcp {
        port: read_port(port, log)?,
    })
}

fn read_exec(at: &Spot<'_>, log: &mut Log) -> Option<Ask> {
    let mut fields = at.fields(log)?;
    let container = fields
        .get("container")
        .and_then(|at| at.text("a container's name", log))
        .map(str::to_owned);
    let command = fields.need("command", "a list: the program and its arguments", log);
    fields.finish(log);
    let at = command?;
    let items = at.list("a list: the program and its arguments (there is no shell)", log);
    let command: Vec<_> = items
        .iter()
        .filter_map(|at| at.text("an argument", log))
        .map(str::to_owned)
        .collect();
    if items.is_empty() && matches!(at.node.value, super::tree::Value::List(_)) {
        log.invalid(&at, "the list is empty; expected the program and its arguments");
    }
    (!command.is_empty()).then_some(Ask::Exec { container, command })
}
