//! What a node tells the tables of SQL of itself and its neighbours.
//!
//! Not here: the tables (`crate::observe::sql`).

use super::admin::NameFacts;
use super::company::CompanyFacts;
use super::membership::Cluster;
use super::node::{Neighbours, Node};
use crate::job::Job;
use crate::observe::log::Log;
use crate::observe::machine::this_machine;
use crate::observe::sql::{CompanyView, Facts, LeftConnections, MemberView, Other, Own};
use crate::transport::Trust;
use banyan_core::companies::CompanyId;
use banyan_wire::cluster::Member;
use banyan_wire::control::Place;
use banyan_wire::ids::NodeId;
use std::sync::Arc;

fn view(company: &CompanyFacts, member: &Member) -> MemberView {
    MemberView { id: member.id.to_string(), role: company.seat(member.id).word(), joined: member.joined }
}

impl Cluster {
    fn root_company(&self) -> CompanyView {
        let facts = self.company.facts();
        let voters: Vec<String> = facts.voters.iter().map(|voter| self.name_of(*voter)).collect();
        CompanyView {
            id: CompanyId::ROOT.0,
            leader: facts.leader.map(|leader| self.name_of(leader)),
            term: facts.term,
            voters: voters.join(","),
            members: facts.members.len() as u64,
            log_last: facts.log_last,
            log_applied: facts.log_applied,
            snapshot_at: facts.snapshot_at,
            trouble: facts.trouble,
        }
    }

    fn own_view(&self) -> Own {
        let member = self.own_member();
        Own {
            address: member.as_ref().map_or_else(String::new, |member| member.address.to_string()),
            member: member.as_ref().map(|member| view(&self.company.facts(), member)),
            machine: this_machine(),
            certificate_expires: self.certificate_expires(),
        }
    }
}

impl Facts for Node {
    fn name(&self) -> String {
        match &self.neighbours {
            // It can be given another while the node runs.
            Neighbours::Cluster(cluster) => cluster.name(),
            Neighbours::Told { .. } => self.name.clone(),
        }
    }

    fn name_of(&self, place: &Place, number: NodeId) -> String {
        match (&self.neighbours, place.member) {
            (Neighbours::Cluster(cluster), Some(member)) => cluster.name_of(member),
            (Neighbours::Told { number: Some(_), .. }, _) => number.to_string(),
            _ => place.address.to_string(),
        }
    }

    fn jobs(&self) -> Vec<Arc<Job>> {
        self.jobs.all()
    }

    fn own(&self) -> Own {
        match &self.neighbours {
            Neighbours::Cluster(cluster) => cluster.own_view(),
            Neighbours::Told { own, .. } => Own {
                member: None,
                address: own.to_string(),
                machine: this_machine(),
                certificate_expires: None,
            },
        }
    }

    fn others(&self) -> Vec<Other> {
        match &self.neighbours {
            Neighbours::Cluster(cluster) => {
                let company = cluster.company.facts();
                let other = |member: Member| Other {
                    name: member.name.clone(),
                    place: Cluster::place(&member),
                    member: Some((view(&company, &member), member.machine)),
                };
                cluster.others().into_iter().map(other).collect()
            }
            // They have nothing to tell, and nobody to tell it.
            Neighbours::Told { .. } if self.spares.are_waiting() => Vec::new(),
            Neighbours::Told { peers, number, .. } => {
                // The others, by number, without this one.
                let number_of = |at: usize, own: usize| if at < own { at } else { at + 1 };
                let other = |(at, &address): (usize, &std::net::SocketAddr)| Other {
                    name: match number {
                        Some(own) => format!("node {}", number_of(at, *own)),
                        None => address.to_string(),
                    },
                    place: Place { address, member: None },
                    member: None,
                };
                peers.iter().enumerate().map(other).collect()
            }
        }
    }

    fn trust(&self) -> Trust {
        self.trust.clone()
    }

    fn log(&self) -> &Log {
        &self.log
    }

    fn companies(&self) -> Vec<CompanyView> {
        match &self.neighbours {
            Neighbours::Cluster(cluster) => vec![cluster.root_company()],
            Neighbours::Told { .. } => Vec::new(),
        }
    }

    fn registered(&self) -> Vec<NameFacts> {
        match &self.neighbours {
            Neighbours::Cluster(cluster) => cluster.known_names().names,
            Neighbours::Told { .. } => Vec::new(),
        }
    }

    fn left_connections(&self) -> &LeftConnections {
        &self.left_connections
    }
}
