@0xce8aa705abb1fa50;
# A chat room. Members join with a listener and hear what is posted, until they leave.
#
# chat_capnp.rs is generated from this file, with capnpc 0.27, by
#     capnp compile -orust chat.capnp

struct Message {
  number @0 :UInt32;
  # Counted from 1, in the order of posting.
  author @1 :Text;
  text @2 :Text;
}

interface Room {
  join @0 (name :Text, listener :Listener) -> (membership :Membership);
}

interface Membership {
  # Dropping it is leaving.

  post @0 (text :Text) -> (number :UInt32);
  # Returns when everyone in the room has heard it, or has been shown the door.

  history @1 (from :UInt32, to :Sink) -> (count :UInt32);
  # Streams the messages from that number on.
}

interface Listener {
  heard @0 (message :Message);
  # Called in the order of posting. Whoever fails to listen is out.
}

interface Sink {
  put @0 (message :Message) -> stream;
  done @1 ();
}
