"""Every bound in one file (but `gossip_limits`, `server_limits`). Rule: nothing in gpufair is unbounded."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

# --- money (micro-credits) ---------------------------------------------------------------------------------------
AMOUNT_MAX = 10**15
"""A thousand million credits. Sums of 2**12 such amounts still fit SQLite's signed 64 bits."""
RATE_MAX = 10**12
LOCKS_MAX = 16
"""Locks in one voucher, and so deliveries of one lease that wait for their key."""
KEY_BYTES = 32
REFERENCE_MAX = 200
"""Characters of the reference to a payment outside that an issue or redemption carries."""

# --- time (milliseconds) -----------------------------------------------------------------------------------------
SKEW_MS = 120 * SECOND
COMMAND_TTL_MS = 5 * MINUTE
BROADCAST_TTL_MS = 15 * MINUTE
SUPERSEDED_GRACE_MS = 60 * SECOND
MARGIN_MIN_MS = 10 * MINUTE
LEASE_MAX_MS = 24 * HOUR
HOLD_MAX_MS = 2 * LEASE_MAX_MS + HOUR
"""The longest lease, the longest margin, and an hour for clocks and funding."""
FUNDING_TIMEOUT_MS = 30 * SECOND
WINDOW_TIMEOUT_MS = 10 * SECOND
IDLE_LIMIT_MAX_MS = HOUR
NOTICE_MAX_MS = 60 * SECOND
BEAT_MS = 5 * SECOND
"""How often a provider says of each job that it has it."""
CHECKPOINT_MS = 30 * SECOND
"""Work that a client buys as a checkpoint in one piece unless told otherwise: so much a lost provider costs it."""
GO_ON_MAX = 8
"""Providers that one job goes through, one after the other."""
GO_ON_MILLI = 2_000
"""What a job may cost with all that it lost on its way, in thousandths of its first price, unless told otherwise."""
LOST_MS = 3 * BEAT_MS
"""A provider that says nothing for this long is lost to the client: its jobs go on elsewhere."""
STALLED_FACTOR = 8
"""A step that takes this many times as long as those before it (or as the offer says) has stalled ..."""
STALLED_MIN_MS = 30 * SECOND
"""... but never sooner than this."""
RESERVE_MIN_MS = SECOND
RESERVE_MAX_MS = 10 * MINUTE
"""How long a worker can be held by one order: what is paid at once stays small."""
AGEING_MS = 30 * SECOND
"""A bid that has waited this long counts as if it paid as much again: so it is never passed for ever."""
PROMOTED_MS = 10 * AGEING_MS
"""An interruptible job that has waited this long is ranked by its age among those on demand, whatever it pays."""
PREEMPT_MARGIN_MILLI = 100
"""A better bid ends the work of an interruptible one that pays less by this much, in thousandths."""
PREEMPT_GAIN_MS = SECOND
"""Work that is done sooner than this is not ended for a better bid: that would gain nobody anything."""
PREEMPTIONS_MAX = 2
"""How often one job is ended for better bids, under whatever leases: then it is let finish."""
PREEMPTED_KEPT = 4096
"""Jobs of which a provider remembers that."""
WAIT_SHOWN_MS = 30 * SECOND
"""An offer tells a shorter wait only once it has been shorter for this long."""
COUNTERS_MAX = 4
"""Counter-offers of one provider that a client goes through before it moves on."""
ASK_AGAIN_MAX = 8
"""How often a client asks on one stream for a picture whose steps it did not see whole."""
SEALING_KEY_MS = LEASE_MAX_MS
"""How long a node record shows one sealing key; it is erased when the last lease that names it is over."""
ABANDONED_KEPT_MS = LEASE_MAX_MS
"""How long a lease that nobody funded is remembered: by then it is over by its own terms."""
FETCHES_PER_LEASE_MAX = 2
"""Deliveries of one lease that are fetched at a time: each lies in memory until its reader has it."""
FETCH_BYTES_MAX = 4 * 64 * MIB
"""Bytes of its deliveries that one lease may fetch in a minute: four of the largest pictures."""
TIME_MAX_MS = 4_102_444_800_000  # the year 2100: anything later is a mistake or an attack

# --- documents and messages --------------------------------------------------------------------------------------
PAYLOAD_MAX = 256 * KIB
"""Bytes of one signed document's payload."""
DOCUMENT_MAX = 16 * KIB
"""Bytes of the payload of a document without long lists; each kind of document names its own bound."""
VOUCHER_MAX = 4 * KIB
"""Bytes of a voucher's payload: with its keys it must fit into a capture that every ledger takes."""
TYPE_MAX = 64
DID_MAX = 64
TEXT_MAX = 512
NAME_MAX = 128
SIGNATURES_MAX = 4
MESSAGE_MAX = 1 * MIB
"""Bytes of one gRPC message, measured after inflation."""
CHUNK = 128 * KIB
"""Bytes of ciphertext in one message of a stream."""
ENDPOINTS_MAX = 8
CERT_MAX = 4 * KIB
OFFER_MODELS_MAX = 256
OFFER_ADAPTERS_MAX = 256
OFFER_FITS_BYTES = 48 * KIB
"""Bytes that an offer spends on saying which models its adapters fit."""
OFFER_GPUS_MAX = 64
OFFER_IMAGES_MAX = 16
OFFER_LEDGERS_MAX = 16
OFFER_PROFILES_MAX = 16
REASONS_MAX = 16
FIND_MAX = 200
"""Node records or offers in one answer of a directory."""
JOURNAL_PAGE = 1000
JOURNAL_PAGE_BYTES = 768 * KIB
"""A page of the journal stops before it would outgrow one message."""
INSTRUCTION_MAX = 16 * KIB
"""Bytes of a signed order that a ledger keeps for ever: a capture with its voucher, locks and keys has 4 KiB."""
KEYS_PAGE = 4096
"""Keys in one answer about a hold."""
LEDGER_BATCH = 128
"""Orders that one commit makes durable together."""
LEDGER_QUEUE = 8192
"""Orders that may wait for the writer."""
QUERIES_SEEN = 65_536
"""Ids of questions that a ledger remembers, to refuse other questions under them."""
LEDGER_TICK_MS = SECOND
"""How often an idle ledger looks for holds whose time is over."""
STATEMENT_PAGE = 200

# --- work --------------------------------------------------------------------------------------------------------
SIDE_MIN = 8
SIDE_MAX = 4096
SIDE_MULTIPLE = 8
PIXELS_MAX = 2048 * 2048
STEPS_MAX = 500
COUNT_MAX = 64
BATCH_MAX = 4096
"""Pictures of one batch."""
GUIDANCE_MILLI_MAX = 50_000
PROMPT_MAX = 8 * KIB
"""Bytes (UTF-8) of a prompt, and of a negative prompt."""
BODY_MAX = 20 * KIB
"""Bytes of a job's body without its inputs."""
INPUTS_MAX = 3
"""What a job may begin from: an image, a mask, and the state of a checkpoint."""
INPUTS_BYTES_MAX = 12 * MIB
"""Bytes of them all."""
INPUT_FILE_MAX = 64 * MIB
"""Bytes of a picture's file that a client makes an input from."""
INPUT_SIDE_MAX = 8192
"""Pixels of the longer side of such a picture."""
STATE_MAX = 16 * MIB
"""Bytes of one step's state: the largest picture's latents, and three such tensors that a scheduler carries on."""
STATE_PIXEL_BYTES = 64
"""Bytes of a state for each pixel of its picture, at most: four tensors of four channels at full size."""
SEALED_MAX = BODY_MAX + INPUTS_BYTES_MAX + STATE_MAX + KIB
"""Bytes of a job's sealed body, whatever is in it."""
BODIES_BYTES_MAX = 256 * MIB
"""Bytes of bodies that have not come whole, of all the clients of a provider."""
ADAPTERS_MAX = 8
DEADLINE_MAX_MS = HOUR
OUTPUT_MAX = 64 * MIB
"""Bytes of one delivered picture."""
PREVIEW_MAX = 24 * KIB
SALT_BYTES = 16

# --- market ------------------------------------------------------------------------------------------------------
JOBS_IN_FLIGHT_MAX = 16
JOBS_PER_LEASE_MAX = 4096
CANCELS_PER_LEASE_MAX = 16
"""Jobs of one lease that its client may cancel before a step of theirs can be sold: that work is lost."""
UNFUNDED_PER_DID_MAX = 2
UNFUNDED_MAX = 64
LEASES_MAX = 1024
DIRECTORY_RECORDS_MAX = 100_000
QUEUE_MAX = 64

# --- worker protocol ---------------------------------------------------------------------------------------------
FRAME_MAX = 32 * KIB
FRAME_CREDIT = 32 * KIB
"""Bytes in flight to one side of a worker's pipe. A pipe that holds 64 KiB stalls for good under gVisor."""
OUTPUT_CHUNK = 24 * KIB
"""Bytes of a picture in one frame; leaves room for the frame's other fields."""
WORKER_BATCH_MAX = 8
"""Pictures that one call of a worker's denoiser takes a step further."""
WORKER_WORDS_BYTES = 64 * MIB
"""Embeddings of prompts that a worker remembers."""
WORKER_ADAPTERS_BYTES = 1024 * MIB
"""LoRA files that a worker keeps in memory."""
WORKER_PATCHES_BYTES = 4096 * MIB
"""Weights under adapters that a worker keeps beside its models' own."""
WORKER_START_MS = 2 * MINUTE
WORKER_SILENCE_MS = 2 * MINUTE
"""A running worker that sends no frame for this long is dead."""
VAE_TILE_SIDE = 1024
"""Pixels of a side above which a VAE works in tiles of that side: a picture's memory stops growing there."""
WORKER_BASE_BYTES = 768 * MIB
"""Memory that a worker's own libraries take, before any model."""
WORKER_COMPILE_MS = 15 * MINUTE
"""The same for one that compiles its denoisers: a shape that is new to it takes minutes."""
WORKER_ANSWER_MS = 15 * MINUTE
"""A worker that is asked to replay or to measure may work for this long before it says anything."""
WORKER_STOP_MS = 30 * SECOND
"""How long an attempt that is stopped may take to the end of its step: after that it ends without a checkpoint."""
WORKER_TRIES_MAX = 3
"""Workers that one attempt may have, should they die under it."""
PASSES_MAX = 4
"""How often a waiting job is passed by jobs whose model is warm."""

# --- traces -------------------------------------------------------------------------------------------------------
RUN_INPUTS_MAX = 8
"""Inputs of one attempt: pictures, states."""
WORKER_INPUTS_BYTES = INPUTS_BYTES_MAX + 4 * STATE_MAX + OUTPUT_MAX
"""Bytes of them all: a job's own, four states and a picture, which is what a replay needs."""
WORKER_INPUTS_ALL_BYTES = 2 * WORKER_INPUTS_BYTES
"""Bytes of inputs that wait in a worker for their attempts."""
PATH_MAX = 16
"""Digests from a trace's leaf to its root."""
PROFILE_FLAGS_MAX = 32
AUDIT_WINDOW_MS = LEASE_MAX_MS
"""How long after its making a paid picture may be audited, as long as its trace is kept."""
AUDIT_SOON_MS = 10 * MINUTE
"""A picture younger than this is to be proved by whoever made it: an owner's room for traces should hold so much."""
TRACES_BYTES_MAX = 4096 * MIB
"""Bytes of traces that a provider keeps for audits unless its owner says otherwise; the oldest go first."""

# --- models -------------------------------------------------------------------------------------------------------
MODEL_FILES_MAX = 256
MODEL_DEPTH_MAX = 4
"""Names in the path of a file inside a model folder."""
MODEL_BYTES_MAX = 96 * 1024 * MIB
ADAPTER_BYTES_MAX = 4 * 1024 * MIB
CONVERT_MAX_MS = HOUR
"""How long a single-file checkpoint may take to become a folder."""
SHARED_FILE_MIN = 64 * KIB
"""Bytes from which on a file that several models have is held once."""
MODEL_TEXT_MAX = 32 * MIB
"""Bytes of a configuration or tokenizer file of a model."""
MODEL_CARD_MAX = 256 * KIB
TENSORS_HEADER_MAX = 16 * MIB
"""Bytes of a safetensors header, which is JSON that must be parsed before anything else is known."""
TENSORS_MAX = 100_000
JSON_DEPTH_MAX = 32
HELD_MODELS_MAX = 64
"""Models that one worker may say it holds."""

# --- connections -------------------------------------------------------------------------------------------------
CONNECT_TIMEOUT_MS = 5 * SECOND
CALL_DEADLINE_MS = 15 * SECOND
"""How long one question to a peer may take, its answer included."""
STREAM_OPEN_MS = 10 * SECOND
"""A call whose caller says nothing for this long after opening it is ended."""
FETCH_SILENCE_MS = MINUTE
"""A fetched delivery that brings nothing for this long is given up."""
KEEPALIVE_MS = 30 * SECOND
KEEPALIVE_TIMEOUT_MS = 10 * SECOND
PEERS_OPEN_MAX = 1024
"""Connections to other nodes that one process keeps."""
FIND_PAGES_MAX = 1000
"""Pages that a reader asks of one directory before it stops believing that there is an end."""
STATUS_TEXT_MAX = 256
"""Bytes of each text that travels with a refused call; HTTP/2 headers are small."""
METADATA_MAX = 8 * KIB

# --- directory ---------------------------------------------------------------------------------------------------
DIRECTORY_BYTES_MAX = 1024 * MIB
"""Bytes of documents that a directory keeps in all."""
EVIDENCE_MAX = 1_000
"""Pieces of evidence that a directory keeps ..."""
EVIDENCE_BYTES_MAX = 64 * MIB
"""... and their bytes."""
EVIDENCE_PER_ACCUSED = 2
"""Pieces of evidence against one identity: one that proves itself, which is enough, and one for a replay to judge."""
EVIDENCE_TTL_MS = 30 * 24 * HOUR
"""How long a piece of evidence may travel."""
EVIDENCE_EPOCH_MS = 7 * 24 * HOUR
"""A piece takes another one's place only if it was issued in a later such stretch of time: none is worth more."""

# --- server ------------------------------------------------------------------------------------------------------
STREAMS_MAX = 256
STREAM_QUEUE_MAX = 16_384
"""Messages that wait for a slow reader of a stream before it loses it."""
STREAM_BYTES_MAX = 2 * OUTPUT_MAX
"""Bytes of pictures among them."""
RPCS_MAX = 4096
"""Calls under way; each open lease has one, so there is room for all of them beside those that come and go."""
BUCKET_RATE = 200
"""Requests a second that one connection may make in the long run."""
BUCKET_BURST = 400
ADDRESS_RATE = 10 * BUCKET_RATE
"""Requests a second of all connections from one address: many people may share one, this machine's own programs too."""
ADDRESS_BURST = 10 * BUCKET_BURST
CONNECTIONS_TRACKED = 8192
"""Connections, and addresses, whose buckets are remembered; a full one is forgotten first, being as good as new."""

CONTROL_MAX = 1 * MIB
"""Bytes of one line between an owner's command and the running node."""
