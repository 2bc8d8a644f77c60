//! What is read from disks and from other replicas.

use bytes::Bytes;
use homeport_api::convert::{
    decode_batch, decode_state_record, decode_verdicts, encode_batch, encode_state_record,
    encode_verdicts,
};
use homeport_binding::{BindingCache, Command};

/// A log entry: two replicas that apply it agree, and the state can be saved and loaded.
pub(super) fn batch(octets: &[u8]) {
    let Ok(mut batch) = decode_batch(octets) else { return };
    let again = decode_batch(&encode_batch(batch.clone()));
    assert_eq!(again.as_ref(), Ok(&batch));
    let (mut one, mut two) = (BindingCache::default(), BindingCache::default());
    for revision in 1..4 {
        for command in &mut batch.commands {
            // A registration names the records that it was checked against.
            if let Command::Register(registration) = command {
                let (home, agent) = (registration.home_address, registration.home_agent);
                registration.policy_revisions = one.policy(home, agent).revisions();
                registration.request_id[0] ^= u8::try_from(revision).expect("small");
            }
        }
        let verdicts = one.apply(revision, batch.clone());
        assert_eq!(verdicts.len(), batch.commands.len());
        assert_eq!(verdicts, two.apply(revision, batch.clone()));
        let again = decode_verdicts(&encode_verdicts(verdicts.clone()));
        assert_eq!(again, Ok(verdicts));
    }
    assert_eq!(one, two);
    let count: usize = one.homes_after(None).map(|(_, home)| home.bindings.len()).sum();
    assert_eq!(count, one.binding_count());
    one.take_changes();
    assert_eq!(reloaded(&one).as_ref(), Some(&one));
}

/// The verdicts of a log entry.
pub(super) fn verdicts(octets: &[u8]) {
    if let Ok(verdicts) = decode_verdicts(octets) {
        let again = decode_verdicts(&encode_verdicts(verdicts.clone()));
        assert_eq!(again, Ok(verdicts));
    }
}

/// The records of a snapshot, one after the other.
pub(super) fn snapshot(octets: &[u8]) {
    let mut rest = Bytes::copy_from_slice(octets);
    let mut records = Vec::new();
    while !rest.is_empty() {
        let before = rest.len();
        let Ok(record) = decode_state_record(&mut rest) else { break };
        assert!(rest.len() < before, "a record has a length");
        let mut written = Vec::new();
        encode_state_record(record.clone(), &mut written);
        let mut written = Bytes::from(written);
        assert_eq!(decode_state_record(&mut written).as_ref(), Ok(&record));
        assert!(written.is_empty());
        records.push(record);
    }
    if let Ok(cache) = BindingCache::from_records(records) {
        assert_eq!(reloaded(&cache).as_ref(), Some(&cache));
    }
}

/// Saved and loaded, octets between.
fn reloaded(cache: &BindingCache) -> Option<BindingCache> {
    let mut octets = Vec::new();
    cache.records().for_each(|record| encode_state_record(record, &mut octets));
    let mut rest = Bytes::from(octets);
    let mut records = Vec::new();
    while !rest.is_empty() {
        records.push(decode_state_record(&mut rest).ok()?);
    }
    BindingCache::from_records(records).ok()
}
