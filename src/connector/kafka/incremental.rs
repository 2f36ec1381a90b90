//! Changes settings of a topic one by one: those that are not named stay what they are.
//!
//! The safe binding knows only the request that replaces all of them, and drops what the brokers say to it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as c;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::{IsError as _, KafkaError, RDKafkaErrorCode};

/// What was waited for longer than the library promises to wait.
const SLACK: Duration = Duration::from_secs(1);

/// Sets `changed`, or only asks whether the brokers would. The inner error is what they say against it.
#[expect(unsafe_code, reason = "the request is not in reach of the safe binding")]
pub fn set<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    changed: &BTreeMap<String, String>,
    only_ask: bool,
    patience: Duration,
) -> Result<Result<(), (RDKafkaErrorCode, String)>, KafkaError> {
    let topic = CString::new(topic)?;
    let pairs = changed.iter().map(|(name, value)| Ok((CString::new(name.as_str())?, CString::new(value.as_str())?)));
    let pairs = pairs.collect::<Result<Vec<_>, std::ffi::NulError>>()?;
    let millis = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the client outlives the call; each thing that is made here is given back here, on the one way through; texts
    // are good for the calls that read them, and what is read of the event is copied before it goes.
    unsafe {
        let native = client.native_ptr();
        let mut resource = c::rd_kafka_ConfigResource_new(c::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic.as_ptr());
        let mut unfit = None;
        for (name, value) in &pairs {
            let op = c::rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
            let error = c::rd_kafka_ConfigResource_add_incremental_config(resource, name.as_ptr(), op, value.as_ptr());
            if !error.is_null() {
                unfit = Some((c::rd_kafka_error_code(error).into(), text(c::rd_kafka_error_string(error))));
                c::rd_kafka_error_destroy(error);
            }
        }
        let options = c::rd_kafka_AdminOptions_new(native, c::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS);
        let mut why = [0; 256];
        c::rd_kafka_AdminOptions_set_request_timeout(options, millis(patience), why.as_mut_ptr(), why.len());
        c::rd_kafka_AdminOptions_set_validate_only(options, i32::from(only_ask), why.as_mut_ptr(), why.len());
        let queue = c::rd_kafka_queue_new(native);
        let answer = match unfit {
            Some(unfit) => Ok(Err(unfit)),
            None => {
                c::rd_kafka_IncrementalAlterConfigs(native, &mut resource, 1, options, queue);
                let event = c::rd_kafka_queue_poll(queue, millis(patience + SLACK));
                let answer = answer(event);
                if !event.is_null() {
                    c::rd_kafka_event_destroy(event);
                }
                answer
            }
        };
        c::rd_kafka_queue_destroy(queue);
        c::rd_kafka_AdminOptions_destroy(options);
        c::rd_kafka_ConfigResource_destroy(resource);
        answer
    }
}

#[expect(unsafe_code, reason = "reads what the library gave")]
unsafe fn answer(event: *mut c::rd_kafka_event_t) -> Result<Result<(), (RDKafkaErrorCode, String)>, KafkaError> {
    if event.is_null() {
        return Err(KafkaError::AdminOp(RDKafkaErrorCode::OperationTimedOut));
    }
    // SAFETY: the caller holds the event; its parts live as long as it.
    unsafe {
        let error = c::rd_kafka_event_error(event);
        if error.is_error() {
            return Err(KafkaError::AdminOp(error.into()));
        }
        let result = c::rd_kafka_event_IncrementalAlterConfigs_result(event);
        if result.is_null() {
            return Err(KafkaError::AdminOpCreation("an answer to another request".to_owned()));
        }
        let mut count = 0;
        let resources = c::rd_kafka_IncrementalAlterConfigs_result_resources(result, &mut count);
        for index in 0..count {
            let resource = *resources.add(index);
            let error = c::rd_kafka_ConfigResource_error(resource);
            if error.is_error() {
                return Ok(Err((error.into(), text(c::rd_kafka_ConfigResource_error_string(resource)))));
            }
        }
        Ok(Ok(()))
    }
}

#[expect(unsafe_code, reason = "reads a text where the library says that it lies")]
unsafe fn text(start: *const std::ffi::c_char) -> String {
    // SAFETY: the caller gives a text of the library that it still holds, or none.
    if start.is_null() { String::new() } else { unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned() }
}
