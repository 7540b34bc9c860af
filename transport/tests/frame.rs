//! Are messages told apart, whatever they are made of and however they are cut?
#![allow(clippy::unwrap_used, missing_docs)]

use capnp::message::{AllocationStrategy, Builder, HeapAllocator};
use capnp_rpc::rpc_capnp::{message, payload};
use dismantle_transport::{Frame, Framer, MessageKind};

/// More than eleven, and the tag lies behind the bytes that are looked at.
const SEGMENTS_MAX: usize = 11;

/// A Return whose payload is spread over `segments` segments, and a Bootstrap behind it.
fn stream(segments: usize) -> (Vec<u8>, u64) {
    let allocator = HeapAllocator::new()
        .first_segment_words(64)
        .allocation_strategy(AllocationStrategy::FixedSize);
    let mut builder = Builder::new(allocator);
    let root = builder.init_root::<message::Builder<'_>>();
    let content: payload::Builder<'_> = root.init_return().init_results();
    let mut list = content
        .init_content()
        .initn_as::<capnp::data_list::Builder<'_>>(segments as u32 - 1);
    for index in 1..segments {
        list.set(index as u32 - 1, &[index as u8; 63 * 8]);
    }
    assert_eq!(builder.get_segments_for_output().len(), segments);
    let mut bytes = Vec::new();
    capnp::serialize::write_message(&mut bytes, &builder).unwrap();
    let end = bytes.len() as u64;
    let mut builder = Builder::new_default();
    builder.init_root::<message::Builder<'_>>().init_bootstrap();
    capnp::serialize::write_message(&mut bytes, &builder).unwrap();
    (bytes, end)
}

#[test]
fn a_message_may_have_several_segments() {
    for segments in 1..=SEGMENTS_MAX {
        let (bytes, end) = stream(segments);
        for size in [1, 3, 8, 16, 100, bytes.len()] {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for piece in bytes.chunks(size) {
                framer.take(piece, |frame| frames.push(frame));
            }
            let expected = [
                Frame {
                    kind: MessageKind::Return,
                    start: 0,
                    end,
                },
                Frame {
                    kind: MessageKind::Bootstrap,
                    start: end,
                    end: bytes.len() as u64,
                },
            ];
            assert_eq!(frames, expected, "{segments} segments, pieces of {size}");
        }
    }
}
