//! `spec.probes`.

use std::time::Duration;

use super::error::Problem;
use super::read::{Fields, Log, Spot};
use super::shape::{Ask, Probe, Tls, Trust, WorkloadRef};

pub(super) fn read(at: &Spot<'_>, workloads: &[WorkloadRef], log: &mut Log) -> Vec<Probe> {
    let items = at.list("a list of probes", log);
    items.iter().filter_map(|at| read_one(at, workloads, log)).collect()
}

fn read_one(at: &Spot<'_>, workloads: &[WorkloadRef], log: &mut Log) -> Option<Probe> {
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
    let workload = fields.get("workload").and_then(|at| {
        let name = at.text("a workload's name", log)?;
        if !workloads.iter().any(|workload| workload.name == name) {
            let choices = workloads.iter().map(|workload| workload.name.clone()).collect();
            let problem = Problem::UnknownValue {
                path: at.path.clone(),
                value: name.to_owned(),
                choices,
            };
            log.add(at.node.place, problem);
        }
        Some(name.to_owned())
    });
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
        workload,
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
    let tls = if tls {
        Some(read_tls(at, &mut fields, log)?)
    } else {
        None
    };
    fields.finish(log);
    Some(Ask::Http {
        tls,
        port: read_port(port, log)?,
        path: path?,
    })
}

/// A pod is dialled by its address, which no certificate is for: the name cannot be guessed.
fn read_tls(at: &Spot<'_>, fields: &mut Fields<'_>, log: &mut Log) -> Option<Tls> {
    let server_name = fields
        .get("serverName")
        .and_then(|at| at.text("the name in the pod's certificate", log))
        .map(str::to_owned);
    let ca = fields
        .get("ca")
        .and_then(|at| at.text("a PEM file, or certificates as PEM", log));
    let insecure = fields.get("insecure").and_then(|at| at.bool(log)).unwrap_or(false);
    if insecure && ca.is_some() {
        log.invalid(
            at,
            "`ca` says whom to trust and `insecure: true` to trust anyone; take one out",
        );
    }
    if !insecure && server_name.is_none() {
        log.invalid(
            at,
            "`https` needs `serverName`, the name that the pod's certificate is for (`{pod}` stands for the pod's \
             name), or `insecure: true` to accept any certificate",
        );
    }
    let trust = match ca {
        _ if insecure => Trust::Anyone,
        None => Trust::System,
        Some(pem) if pem.contains("-----BEGIN") => Trust::Pem(pem.to_owned()),
        Some(file) => Trust::File(file.to_owned()),
    };
    Some(Tls { server_name, trust })
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
