/** Every bound of the system, by name. Units come last in a name. */

export interface ScriptLimits {
  memory_mb: number;
  cpu_ms: number;
  timeout_ms: number;
  response_kb: number;
  log_kb: number;
  host_calls: number;
}

export type LimitName = keyof ScriptLimits;

export const LIMIT_DEFAULTS: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 32,
  cpu_ms: 1_000,
  timeout_ms: 10_000,
  response_kb: 4_096,
  log_kb: 64,
  host_calls: 1_000,
});

/** What an instance admin allows at most, unless configured otherwise. */
export const LIMIT_CEILINGS: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 64,
  cpu_ms: 30_000,
  timeout_ms: 300_000,
  response_kb: 10_240,
  log_kb: 1_024,
  host_calls: 10_000,
});

/** How far a configuration may raise the ceilings. */
export const LIMIT_CEILINGS_MAX: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 1_024,
  cpu_ms: 600_000,
  timeout_ms: 3_600_000,
  response_kb: 65_536,
  log_kb: 16_384,
  host_calls: 1_000_000,
});

/** Below these a script could not even start. */
export const LIMIT_FLOORS: Readonly<ScriptLimits> = Object.freeze({
  memory_mb: 1,
  cpu_ms: 1,
  timeout_ms: 1,
  response_kb: 1,
  log_kb: 0,
  host_calls: 0,
});

export const LIMIT_NAMES = Object.keys(LIMIT_DEFAULTS) as LimitName[];

// HTTP
export const bodyBytesMax = 10 * 1024 * 1024;
export const listLimitMax = 200;
/** A connection with nothing under way is closed after this long; Bun counts in steps of 4 s. */
export const connectionIdleS = 60;
/** A body must have arrived after this long: 10 MiB at 0.7 Mbit/s. */
export const bodyReadS = 120;
/** Larger bodies count; what all of them together may hold while they arrive and are worked on. */
export const bodySmallBytesMax = 64 * 1024;
export const bodiesHeldBytesMax = 32 * 1024 * 1024;
/** Larger answers count; what those that callers do not read may hold, and how many are looked at. */
export const answerSmallBytesMax = 64 * 1024;
export const answersHeldBytesMax = 64 * 1024 * 1024;
export const answersRememberedMax = 1_024;
/** What a caller is told to wait when it is full. */
export const bodiesRetryAfterS = 2;
/** Fields of one form, files included: each of them costs a hundred times its three bytes. */
export const bodyFormFieldsMax = 10_000;
/** Deeper JSON is refused in a large body; a guest can read a tenth of it. */
export const bodyJsonDepthMax = 10_000;
/** So much of a large JSON body is checked between two turns of the event loop. */
export const bodyJsonSliceChars = 256 * 1024;
/** Host headers whose meaning is remembered, so that the hot path parses none. */
export const hostsRememberedMax = 1_024;
export const requestIdCharsMax = 128;
/** How often a stop looks whether the last request is answered. */
export const drainPollMs = 10;
export const listLimitDefault = 50;
/** Longer than the cursor of any list: the longest holds a name and an id. */
export const cursorCharsMax = 2_048;

// names and texts
export const slugPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
export const nameCharsMax = 128;
export const descriptionCharsMax = 4_096;
export const sourceBytesMax = 1024 * 1024;
export const routePathCharsMax = 1_024;
export const hostCharsMax = 253;
/** With these two a match costs a bounded number of look-ups, whatever is routed. */
export const routeSegmentsMax = 32;
export const routeHostLabelsMax = 16;
export const routeParamNameCharsMax = 64;
/** Hosts that one app is given. */
export const appHostsMax = 64;
/** Of the routes that stand against a host, so many are shown. */
export const conflictingRoutesShownMax = 20;
export const usernameCharsMax = 64;
export const usernamePattern = /^[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?$/;
export const passwordCharsMin = 10;
export const passwordCharsMax = 256;

// the gate
export const gateRunningMax = 32;
export const gateWaitingMax = 128;
export const gateWaitMsMax = 2_000;
/** How much of the gate one app may hold, and what events keep for themselves. */
export const gateAppShare = 0.5;
export const gateEventShare = 0.25;
/** What a caller is told to wait when the gate is full: as long as a waiter would have waited. */
export const gateRetryAfterS = 2;
/** Apps the gate remembers while they do nothing, so that a request allocates nothing. */
export const gateIdleAppsMax = 256;

// the catalog of runnable scripts: compiled code kept in memory
export const scriptCacheBytesMax = 16 * 1024 * 1024;

// the sandbox
/** What a caller is told to wait when its sandbox or the database was lost. */
export const sandboxRetryAfterS = 1;
/** How long after a limit the parent waits for the child's own answer before it kills it. */
export const killGraceMs = 250;
/** After this silence, what queues behind the running execution is run on the spare. */
export const stealAfterMs = 30;
/** How long an app that caused a kill is kept apart from the others. */
export const penaltyMs = 30_000;
export const childReadyMsMax = 5_000;
export const imageCacheMbDefault = 32;
/** The largest memory_mb that can be configured: a sandbox's memory is declared with this maximum. */
export const memoryCeilingMb = 64;
/** QuickJS's own stack; the host's must be at least 256 times as large. */
export const guestStackBytes = 128 * 1024;
/** Sandboxes that one child keeps; further suspended executions are swapped out. */
export const instancesPerChildMax = 8;
/** Memory of large executions that wait in their instances; beyond it they are swapped out at once. */
export const residentBytesMax = 64 * 1024 * 1024;
/**
 * An execution keeps its instance for so long while it waits: swapping copies some 300 KB out and in
 * again. Where replies usually take longer than replyMsMax, nobody waits for them.
 */
export const replyMsMax = 8;
export const swapAfterMs = 2;
/** How long a child runs guests before it reads what has arrived meanwhile. */
export const sliceMs = 4;
/** Then the app goes first that has used least; what is so old counts half. */
export const turnsHalfLifeMs = 250;
/** How long an execution may keep its instance while others wait for one. */
export const turnMsMax = 8;
/**
 * Memory of swapped-out executions in one child. Above it only apps that hold next to nothing of it
 * begin further ones; above the limit the largest of the app that holds most is ended.
 */
export const suspendedBytesMax = 64 * 1024 * 1024;
export const suspendedSmallBytesMax = 4 * 1024 * 1024;
export const suspendedBytesLimit = 128 * 1024 * 1024;
/** Buffers that are kept for the next execution to be swapped out. */
export const suspendedFreeBytesMax = 8 * 1024 * 1024;
/** Sources of programs that one child keeps, to make images of; beyond it asks for them again. */
export const programSourceBytesMax = 32 * 1024 * 1024;
/** Timers one execution may have at a time. */
export const guestTimersMax = 1_000;
/** Arguments of host calls that one execution may have under way. */
export const hostCallsPendingBytesMax = 16 * 1024 * 1024;
/** What the child converts for a guest at once (UTF-8, base64, digests), and a URL among it. */
export const guestAnswerBytesMax = 16 * 1024 * 1024;
export const guestUrlCharsMax = 64 * 1024;
export const responseHeadersMax = 100;
export const responseHeaderBytesMax = 32 * 1024;
export const guestErrorMessageCharsMax = 4_096;
export const guestErrorStackCharsMax = 8_192;
export const guestStackFramesMax = 32;
/** Executions of its own by which an idle child has its code compiled. */
export const warmUpExecutions = 3_000;
/** A child that has grown by so much collects its garbage. */
export const childGarbageBytesMax = 8 * 1024 * 1024;
/** One frame between server and child: the longest response that can be configured, in base64. */
export const frameBytesMax = 96 * 1024 * 1024;
/** How often the pool looks at its children, while something runs and only then. */
export const poolTickMs = 10;
/** Executions that one child may hold at once, and that may wait for a child at all. */
export const childExecutionsMax = 64;
export const poolQueueMax = 1_024;
/** An image is worth a busier child, up to this many executions more than the least busy has. */
export const placementImbalanceMax = 8;
/** Programs one child is asked to keep; older ones are forgotten and sent again when they run. */
export const childProgramsMax = 1_024;
/** Above this a child is given nothing new before it has read what was sent. */
export const childBacklogBytesMax = 4 * 1024 * 1024;
/** A child that answers no cancel for this long, though it runs no guest code, has hung. */
export const childHungMsMax = 2_000;
/** Executions on a child's number counter before it is replaced: numbers are never reused. */
export const childExecutionNumbersMax = 2 ** 32 - 2 ** 20;
/** Host calls of one execution that run at once; the rest wait for their turn. */
export const hostCallsInFlightMax = 16;
/** Arguments of one host call: a value of the largest kind and room for its keys. */
export const hostCallBytesMax = 1024 * 1024;
/** CPU that an app may waste on executions that fail, before it is kept apart; what is forgiven. */
export const offenceCpuMs = 250;
export const wasteForgivenPerSecond = 50;
/** A broken budget counts as at least so much: its memory costs the child more than its CPU. */
export const wasteFloorMs = 25;
/** Work of one app that is sent ahead to a child, and apps whose cost is remembered. */
export const shareSliceMs = 8;
export const shareAppsMax = 4_096;
/** An execution that has not ended after this waits for something, and counts as sent ahead no more. */
export const shareAheadMsMax = 50;
/** Executions of one app that is kept apart that run at once: an attack is alone with its blame. */
export const penaltyRunningMax = 1;
/** Apps that can be kept apart at one time; the one whose time ends first gives its place. */
export const penaltyAppsMax = 1_000;
/** Traffic is this many executions without a rest; then a warm spare is worth its memory. */
export const spareAfterExecutions = 16;
/** After this long without work children collect garbage, and later the spare is let go. */
export const restAfterMs = 1_000;
export const spareIdleMsMax = 10_000;
/** How often the memory of a working child is read, and when it is replaced. */
export const childMemoryCheckMs = 5_000;
export const childPrivateMbMax = 112;
export const childGrowthMbMax = 80;
/** Children that may fail to start in a row before the pool waits for the next execution. */
export const childStartFailuresMax = 6;
export const childBackoffMsMin = 100;
export const childBackoffMsMax = 10_000;
/** What is kept of a child's own output, for the log line about its end. */
export const childOutputCharsMax = 4_096;

// saving a script: the compile role
/** From the request to the answer; then the child is killed. */
export const compileMsMax = 10_000;
/** Resident memory of the child while it compiles; above it, it is killed. */
export const compileMemoryMbMax = 256;
/** How often its memory is looked at: enums can double a text at every member. */
export const compileWatchMs = 20;
/** Saves that wait for the one child, and for how long. */
export const compileQueueMax = 16;
export const compileWaitMsMax = 10_000;
/** The child stays this long after a save, so that the next save is fast. */
export const compileKeepWarmMs = 10_000;
/** A child that nobody asks anything ends by itself. */
export const compileIdleMsMax = 60_000;
/** Indentation makes compiled code longer than its source; deep nesting makes it quadratic. */
export const codeBytesMax = 4 * sourceBytesMax;
export const compileProblemsMax = 20;
export const importsMax = 256;

// modules
/** Modules in the longest chain of imports; what imports the first of them is not counted. */
export const moduleDepthMax = 8;
/** Modules that one script is run with, and the compiled code of all of it: read and sent whole. */
export const programModulesMax = 256;
export const programCodeBytesMax = 8 * 1024 * 1024;
/** Importers of one module that are shown, and that an error names. */
export const importersShownMax = 1_000;
export const importersNamedMax = 10;

// errors of scripts in the author's positions
export const stackLinesMax = 100;
export const stackCharsMax = 32 * 1024;
/** Source maps kept decoded, by the length of their text. */
export const positionMapBytesMax = 2 * 1024 * 1024;

// key-value data
export const kvKeyBytesMax = 512;
export const kvCollectionBytesMax = 128;
export const kvValueBytesMax = 256 * 1024;
export const kvListLimitMax = 200;
export const kvListLimitDefault = 50;
/** A page ends early, with a cursor, once its values pass this many bytes. */
export const kvListBytesMax = 1024 * 1024;
/** Rows read by one scan of a list, so that no scan holds more than this many largest values. */
export const kvListScanRowsMax = 51;
export const kvCursorCharsMax = 1_024;
/** Lists of one app that are read at once: all apps, and the admin API, share one thread for them. */
export const kvListsPerAppMax = 2;
/** Lists of one app that wait for that, and how long. */
export const kvListsWaitingMax = 512;
export const kvListWaitMsMax = 10_000;
/** Apps whose lists are counted. */
export const kvListAppsMax = 256;

// time to live of entries
export const ttlSecondsMin = 0.001;
export const ttlSecondsMax = 10 * 365 * 24 * 3_600;
/** Keys of one `getMany`, and the values of all of them together. */
export const kvManyKeysMax = 100;
export const kvManyBytesMax = 4 * 1024 * 1024;
/** Longer values of a `getMany` are read by the thread of the lists. */
export const kvManyShortBytesMax = 4 * 1024;
/** How often a write that must know what it replaces looks again because another came between. */
export const dataWriteTriesMax = 100;

// documents
export const docIdBytesMax = 512;
export const docBytesMax = 256 * 1024;
export const docFieldBytesMax = 256;
export const docIndexesPerCollectionMax = 8;
export const docIndexesPerAppMax = 200;
/** Levels of objects and arrays in one document. */
export const docDepthMax = 100;
/** Of one text an index keeps so many characters, and of one document the entries of so many values. */
export const docIndexTextCharsMax = 128;
export const docIndexKeysMax = 50;
/** Of one query: nested $and, $or and $not, conditions, values of one $in, fields of a sort. */
export const docQueryDepthMax = 8;
export const docConditionsMax = 100;
export const docInValuesMax = 200;
export const docSortFieldsMax = 4;
export const docFindLimitMax = 200;
export const docFindLimitDefault = 50;
/** A cursor holds the values that were sorted by: with room for those of the largest document. */
export const docCursorCharsMax = 512 * 1024;
/** A page ends early, with a cursor, once its documents pass this many bytes. */
export const docPageBytesMax = 1024 * 1024;
/** Documents, and bytes of them, that one find or count reads; each condition counts as a share of them. */
export const docFindRowsMax = 10_000;
export const docFindBytesMax = 32 * 1024 * 1024;
export const docConditionShare = 0.2;
/** Documents in one read, so that none holds more than this many largest ones. */
export const docScanRowsMax = 64;
/** Ids of documents in one read, where an index has the same one at several values. */
export const docScanIdsMax = 2_000;
/** How long documents are compared before the event loop gets a turn. */
export const docSliceMs = 4;
/** A document of more characters, times the conditions of its query, is compared condition by condition. */
export const docAtOnceChars = 256 * 1024;
/** So many documents are rather sorted in memory than read in the order of another index. */
export const docSortedRowsPreferred = 1_000;
/** How often a find begins again because an index that it used was dropped. */
export const docFindTriesMax = 3;
/** Documents that one step of building an index reads, entries that one of dropping it deletes. */
export const docIndexBuildRows = docScanRowsMax;
export const docIndexDropRows = 500;
/** Waits of the builder while the database is away: doubling from the first to the second. */
export const docIndexRetryMsMin = 100;
export const docIndexRetryMsMax = 5_000;

// transactions of scripts
export const txKeysMax = 100;
export const txTriesMax = 5;
export const txResultBytesMax = 256 * 1024;
/** One answer to reads ends once its values pass this many bytes; the rest is asked for again. */
export const txReadBytesMax = 1024 * 1024;
/** How long the loser of a conflict waits at most before it runs again, after the last try but one. */
export const txConflictWaitMsMax = 40;

// what one app may keep: entries, documents, and what waits for its handlers
export const appDataRowsDefault = 1_000_000;
export const appDataMbDefault = 1_024;
export const appDataRowsMax = 1_000_000_000;
export const appDataMbMax = 1_048_576;
/** Apps whose data is counted in memory. */
export const usageAppsMax = 1_024;
/** Rows of one read of a measurement. */
export const usageChunkRows = 2_000;
/** After a measurement none follows for so long, and for so many times as long as it took. */
export const usageRestMs = 5_000;
export const usageRestShare = 9;
/** On a database with other servers an app that writes is measured this often. */
export const usageSharedMs = 60_000;
/** From this share of a bound on, what is replaced is taken off; and what is written until it is measured again. */
export const usageNearShare = 0.5;
export const usageDriftShare = 0.0625;
/** No row of any kind takes less of a file: each holds its app's id. */
export const usageRowBytesMin = 48;

// people's work with an app's data
/** Records of one collection that a list of collections counts, and of one page of that list. */
export const dataCountRowsMax = 100_000;
/** Records that one call of clearing a collection deletes. */
export const dataClearRowsMax = 1_000;
/** Records, and bytes of lines, of one transaction of an import or of clearing. */
export const dataBatchRows = 100;
export const dataBatchBytes = 1024 * 1024;
/** A line of an import: the largest record, each character of its value escaped (six for one). */
export const importLineBytesMax = 2 * 1024 * 1024;
/** Lines, empty ones included, that are read between two turns of the event loop. */
export const importLinesPerTurn = 4_096;
export const importBytesMax = 1024 * 1024 * 1024;
/** Rows that an export reads at a time: as few as hold no more memory than a list does. */
export const exportScanRows = kvListScanRowsMax;
/** Imports and exports under way. */
export const dataTransfersMax = 4;

// triggers
export const triggersPerAppMax = 200;
/** Triggers on data that are held in memory, of all apps together; with more of them every write looks. */
export const liveTriggersMax = 2_000;
/** What one transaction may have its triggers told: 200 of them would make 100 MB of one large value. */
export const emittedBytesMax = 64 * 1024 * 1024;
/** Deliveries of a deleted trigger that one transaction drops. */
export const deliveriesDroppedMax = 200;
export const retryAttemptsMax = 100;
export const retryWaitMsMin = 1;
export const retryWaitMsMax = 24 * 3_600_000;
export const cronExpressionCharsMax = 256;
export const cronTimezoneCharsMax = 64;
/** Missed ticks are counted one by one up to here (50 µs each), then by days, for so many days. */
export const cronStepsMax = 200;
export const cronCountDaysMax = 3_660;
/** Firings that are shown before a trigger is saved. */
export const cronPreviewCount = 5;
/** With a tick to come, the scheduler looks at the clock this often: it may have been set. */
export const schedulerSleepMsMax = 60_000;
/** Waits between its tries while the database is away: doubling from the first to the second. */
export const schedulerRetryMsMin = 100;
export const schedulerRetryMsMax = 5_000;

// deliveries
/** A chain of events that cause events ends above this depth. */
export const eventDepthMax = 8;
/** That it did so is reported at most this often of one app. */
export const chainReportMs = 10_000;
/** A holder that does not renew its lease for so long has lost it. */
export const leaseMs = 30_000;
export const leaseRenewMs = 10_000;
/** Holders that ended without a word cost no attempt, but for the last of so many. */
export const deliveryCrashesMax = 3;
/** Deliveries of one app that one claim takes: with 8, a drain takes a tenth more of the CPU. */
export const claimPerAppMax = 16;
/** Deliveries that are read ahead of free slots, and for how long that is worth anything. */
export const lookaheadMax = 24;
export const lookaheadMsMax = 20;
/** Turns of the event loop that settlements wait for others while sandboxes have enough to do. */
export const gatherTurnsMax = 16;
/** While handlers run, settlements are synced to the disk once in so long. */
export const settleSyncMs = 5;
/** A longer payload is read when its handler runs, and so many of an app at a time. */
export const claimedPayloadBytesMax = 64 * 1024;
export const largePayloadsPerAppMax = 2;
export const largePayloadWaitMsMax = 5_000;
/** What nobody is to blame for (no slot, no sandbox, no database) is tried again after so long. */
export const deliveryBusyWaitMs = 500;
/** Waits between two tries of a dispatcher whose database is away: doubling from the first to the second. */
export const dispatchRetryMsMin = 100;
export const dispatchRetryMsMax = 5_000;
/** How long a dispatcher that stops tries to settle what has ended. */
export const dispatchStopMsMax = 3_000;
/** Attempts of one delivery that are shown: the newest. */
export const attemptsShownMax = 200;
/** A page of dead letters ends early, with a cursor, before it passes this many bytes. */
export const deadLetterListBytesMax = 4 * 1024 * 1024;
/** A list leaves out members of an event that are longer than this, as JSON. */
export const deadLetterMemberCharsMax = 1_024;
export const deadLetterNoteCharsMax = 4_096;
/** Letters that one call replays, resolves or purges, and how many of them one transaction. */
export const deadLettersPerCallMax = 5_000;
export const deadLetterChunkRows = 100;
/** Deliveries of one trigger that a cron with overlap "queue" lets wait. */
export const cronQueuedMax = 100;
/** Body of a request that is run later. */
export const asyncBodyBytesMax = 1024 * 1024;
/** The same as it waits: JSON in JSON, in which a control character takes 7 bytes. */
export const asyncPayloadBytesMax = 2 * asyncBodyBytesMax;
/** So much of what an app may keep is open to requests that are run later: strangers do not fill the rest. */
export const asyncDataShare = 0.9;
/** Requests of one app that wait to be run later, and what a caller is told to wait when there are so many. */
export const asyncPendingMax = 10_000;
export const asyncRetryAfterS = 5;
/** So many more are taken before they are counted anew, and a count that found no room holds so long. */
export const asyncCountStep = 1_000;
export const asyncFullMs = 1_000;
/** Apps whose waiting requests are counted. */
export const asyncAppsMax = 1_024;
/** Of those that succeeded, and of those that failed, so many of an app are kept: a flood fills no disk. */
export const asyncKeptMax = 10_000;
export const asyncTrimRows = 500;
/** Letters that are over, and asynchronous executions, are kept so long. */
export const deadLetterRetentionDays = 30;

// execution records
export const recordBodyBytesMax = 8 * 1024;
export const recordBufferMax = 2_000;
/** Successes of one script above this many a second are counted, but kept only in part. */
export const recordSuccessesPerSecondMax = 20;
export const recordBufferBytesMax = 16 * 1024 * 1024;
/** What the records of one script's failures take at most, at once and a second; the rest is brief. */
export const recordFailureBytesMax = 2 * 1024 * 1024;
export const recordFailureBytesPerSecondMax = 128 * 1024;
/** Of a path, a message and a stack, this much is in a brief record. */
export const recordBriefChars = 500;
/** Of a header's value, of an error's message and of its stack, this much is kept. */
export const recordHeaderCharsMax = 2_048;
export const recordHeadersMax = 128;
export const recordErrorBytesMax = 8 * 1024;
/** A text is cut this much above its bound before credentials are taken out, so that none is cut in half. */
export const recordSlackBytesMax = 4 * 1024;
/** Dropped records are reported in the server's log at most this often. */
export const recordDropReportMs = 60_000;
/** A buffered record is written at the latest after this time, or when so many wait. */
export const recordFlushMs = 1_000;
export const recordFlushCount = 200;
/** Waits between two tries of a failing sink: doubling from the first to the second. */
export const recordRetryMsMin = 1_000;
export const recordRetryMsMax = 30_000;
/** Tries of a record that fails alone before it is given up, so that it holds no other back. */
export const recordTriesMax = 5;
/** A page of records ends early, with a cursor, before it passes this many bytes. */
export const recordListBytesMax = 4 * 1024 * 1024;
/** How long a read waits for the buffer to be written before it reads around it. */
export const recordReadFlushMsMax = 500;
/** How long a stop waits for the last write. */
export const recordStopMsMax = 3_000;
/** Scripts whose sampling rates and counts are held in memory. */
export const recordScriptsMax = 2_000;
/** Records made ready between two turns of the event loop. */
export const recordPrepareCount = 16;
/** Source maps held for the errors of records. */
export const recordMapBytesMax = 2 * 1024 * 1024;
export const logRetentionDaysDefault = 7;
export const logMaxMbDefault = 256;

// maintenance
export const maintenanceFirstMs = 30_000;
export const maintenanceEveryMs = 15 * 60_000;
/** It also runs when so much of the bound on records was written since, but not more often than this. */
export const maintenanceWrittenShare = 0.125;
export const maintenanceSoonMs = 5_000;
/** Retention runs this often even when nothing happened. */
export const maintenanceIdleEveryMs = 24 * 3_600_000;
export const maintenanceChunkRows = 500;
/** Chunks deleted in one run; the next run goes on. */
export const maintenanceChunksMax = 400;
/** Bounded steps of giving pages back in one run. */
export const maintenanceReclaimStepsMax = 2_000;
/** The write-ahead log alone may take half of this: a smaller bound on records means this one. */
export const maintenanceLogMbMin = 16;
/** Over the size bound, records are deleted until this share of it is used. */
export const maintenanceSizeTarget = 0.9;

// sessions and passwords
export const sessionTtlHoursDefault = 24;
export const setupTokenTtlMs = 3_600_000;
export const loginFailuresPerAccountMax = 10;
export const loginFailuresPerAddressMax = 30;
export const loginFailureWindowMs = 15 * 60_000;
export const passwordHashQueueMax = 16;
/** Argon2id takes 19 MB each while it runs. */
export const passwordHashSlots = 2;
export const passwordHashWaitMsMax = 10_000;
/** Accounts, addresses and pairs of them whose failures are remembered. */
export const loginTrackedMax = 4_096;
/** That a session or a key was used is written at most this often, because a card wears. */
export const credentialTouchMs = 60_000;
export const apiKeysPerAccountMax = 100;
/** An expired key stays listed for so long, so that who misses it sees why. */
export const apiKeyRetentionDays = 30;
/** How many of its apps an account is told along with who it is. */
export const membershipsShownMax = 100;
/** Expired sessions deleted along with a login. */
export const sessionsPurgedMax = 100;
/** What is kept of how a client calls itself, and of where it is. */
export const userAgentCharsMax = 256;
export const sessionAddressCharsMax = 64;
/** Owners that the warning at the start names. */
export const ownersNamedMax = 10;

// the audit trail
export const auditRetentionDaysDefault = 365;
/** Some 100,000 changes: a year of 270 a day. A card of 8 GB does not miss it, and it is read in a moment. */
export const auditMaxMbDefault = 64;
/** Of each name, id and address of an entry: as long as the longest key. */
export const auditTextCharsMax = 512;
export const auditDetailBytesMax = 2_048;

// the admin API
/** Source of sourceBytesMax in JSON, with room for escapes. */
export const adminBodyBytesMax = 4 * 1024 * 1024;
/** So long somebody's rights are believed while their body, or what they read, is on its way. */
export const judgedForMs = 1_000;
/** What anybody may send: login and setup. */
export const anonymousBodyBytesMax = 16 * 1024;
/** How often a write of routes starts over because another process wrote some. */
export const routeWriteTriesMax = 5;
/** Between two looks at the database while the routes in memory may be behind it. */
export const routesRereadMs = 1_000;
/** How often a save, or a batch of an import, starts over because another one came between. */
export const saveTriesMax = 5;
/** Problems reported for one request. */
export const fieldErrorsMax = 50;
/** Of a manifest: all that its deployment writes is one transaction, which holds up other writers. */
export const manifestScriptsMax = 200;
export const manifestRoutesPerScriptMax = 200;
export const manifestRoutesMax = 1_000;
export const manifestFileCharsMax = 1_024;
/** What one deployment may delete: more is for who deletes the app. */
export const deploymentDeletesMax = 2_000;
/** Sources in JSON, bundled packages among them. They are held, and what they compile to, while it runs. */
export const deploymentBodyBytesMax = 16 * 1024 * 1024;
/** So of all that are sent at once one runs, and few wait. */
export const deploymentsWaitingMax = 4;
export const deploymentWaitMsMax = 30_000;
/** Sources of one deployment that are given to the compiler at once: other saves come in between. */
export const deploymentCompilesMax = 2;
export const deploymentCompileMsMax = 60_000;
/** Bytes of stored sources that are read at once to be compared. */
export const deploymentComparedBytes = 4 * 1024 * 1024;

// the database
export const txMsMax = 10_000;
export const writerQueueMax = 10_000;
/** How long queued transactions may run before the event loop gets a turn. */
export const writerSliceMs = 2;
/** The same for the statements of one transaction. */
export const txSliceMs = 4;
/** Prepared statements kept by one connection. */
export const statementCacheMax = 256;
export const scanQueueMax = 256;
export const scanMsMax = 15_000;
export const scanRowsMax = 200_000;
/** Rows of a scan cross threads in batches, so that a long answer does not stall the loop. */
export const scanBatchRowsMax = 256;
export const scanBatchCharsMax = 256 * 1024;
/** The scan thread ends after this much rest: an idle server does not carry it. */
export const scanIdleMs = 10_000;
/** Pages in the write-ahead log after which the scan thread checkpoints it. */
export const walPagesMax = 1_000;
/** Rows, of which each may be large or none is, that one step of deleting an app or a script takes. */
export const removedLargeRows = 50;
export const removedSmallRows = 500;
/** A checkpoint repeats until this many pages are left, before it holds the writers for the rest. */
export const walPagesRestMax = 200;
export const walPassesMax = 3;
export const checkpointMsMax = 60_000;
/** When the thread does not get to it, the writer itself checkpoints here. */
export const walPagesFallback = 8_000;
/** Pages given back to the file system by one `reclaim` step. */
export const reclaimPagesMax = 64;

// PostgreSQL
/** Connections of each kind: for writes, point reads, scans, records; one more listens and holds the lock. */
export const postgresWritersMax = 6;
export const postgresReadersMax = 4;
export const postgresScannersMax = 2;
export const postgresLogsMax = 3;
/** Callers that wait for one of the connections of a kind. */
export const postgresQueueMax = 2_000;
/** From the call to the answer, the wait for a connection included; then the connection is destroyed. */
export const postgresQueryMsMax = 9_500;
/** The same for a transaction. */
export const postgresTxMsMax = 9_500;
/** The server gives up by itself a little earlier, so that most deadlines cost no connection. */
export const postgresStatementMsMax = 8_000;
export const postgresLockMsMax = 5_000;
/** A server that lost us ends what we left open: a transaction, and a connection that nothing answers. */
export const postgresIdleTxMsMax = 10_000;
export const postgresGoneMsMax = 10_000;
/** A migration may rewrite a large table. */
export const postgresMigrationMsMax = 3_600_000;
/** From the first packet to the first answer, TLS and password included. */
export const postgresConnectMsMax = 2_500;
export const postgresConnectsPerSecondMax = 10;
/** Waits between two tries to reach a database that is away: doubling from the first to the second. */
export const postgresRetryMsMin = 100;
export const postgresRetryMsMax = 1_000;
/** How often a server that waits for its database says so. */
export const postgresWaitReportMs = 30_000;
/** How long the lock of one that is just ending is waited for, and that of our own lost connection. */
export const postgresLockWaitMsMax = 1_500;
export const postgresGhostWaitMsMax = 15_000;
/** Lost connections whose processes in the database are still to be ended. */
export const postgresGhostsMax = 256;
/** A connection that rested this long is asked for a sign of life before it is used, for so long. */
export const postgresRestMs = 1_000;
export const postgresPingMsMax = 1_000;
/** While a query takes longer than this, the database is asked for a sign of life, for so long. */
export const postgresSlowMs = 500;
export const postgresSignMsMax = 2_500;
/** And this often while nothing happens, so that a lost connection is noticed. */
export const postgresSignEveryMs = 15_000;
/** Connections that were not used for this long are closed, all but one of a kind. */
export const postgresIdleMsMax = 60_000;
/** A notification's payload, ours around it included: PostgreSQL takes less than 8,000. */
export const postgresPayloadBytesMax = 7_900;
/** Transactions whose end we do not know, remembered for what they may yet announce. */
export const postgresInDoubtMax = 1_000;

// backups
/** Rows of a backup are compressed and checked in blocks of so much JSON; a larger row has its own. */
export const backupBlockBytes = 256 * 1024;
/** A version of a script is the largest row: source, code and source map, escaped as JSON. */
export const backupBlockBytesMax = 64 * 1024 * 1024;
/** A backup holds a view of the database open so long at most: meanwhile its log only grows. */
export const backupMsMax = 3_600_000;
/** How large that log may become, and how little room may be left on its disk, before a backup gives up. */
export const backupWalBytesMax = 1024 * 1024 * 1024;
export const backupFreeBytesMin = 32 * 1024 * 1024;
/** How much a backup reads between two looks at both. */
export const backupRoomCheckRows = 1_000;
/** After a block a backup rests for so long, in shares of the time the block took. */
export const backupRestShare = 2;
/** A backup's file is synced in steps: all of it at the end would hold up the server's own syncs. */
export const backupSyncBytes = 4 * 1024 * 1024;
/** Rows fetched from PostgreSQL at a time: one may be a script's largest version. */
export const backupFetchRows = 32;
/** How long PostgreSQL may take for them. */
export const backupFetchMsMax = 60_000;
/** Values in one statement of a restore; the protocol has room for 65,535. */
export const restoreValuesMax = 30_000;
/** How often a terminal is told how far it is. */
export const backupProgressMs = 200;

// the command line
/** How long `pic` waits for an answer, body included; what streams has no such end. */
export const cliAnswerMsMax = 60_000;
/** The same for a deployment, which may wait for others and compiles all that it brings. */
export const cliDeployMsMax = 150_000;
/** Of an answer that does not stream. */
export const cliAnswerBytesMax = 64 * 1024 * 1024;
/** Rows that a list fetches, page by page, before it says that there are more. */
export const cliRowsMax = 10_000;
/** Of a table. */
export const cellColumnsMax = 80;
/** Of a manifest that `pic` reads; the scripts have files of their own. */
export const manifestBytesMax = 1024 * 1024;
/** A file that is bundled, and how often bundling starts over to look into files first. */
export const bundleFileBytesMax = 8 * 1024 * 1024;
export const bundleRoundsMax = 64;
/** A save may be several writes, and several files: they are deployed together after so much quiet. */
export const watchQuietMs = 40;
/** How often `pic logs --follow` looks for what is new, and how much it asks for at once. */
export const followEveryMs = 1_000;
export const followPageItems = 50;
/** Records that following remembers, so that it shows none twice. */
export const followRememberedMax = 10_000;
export const credentialsBytesMax = 1024 * 1024;
/** What may come in on standard input where a line is asked for. */
export const stdinCharsMax = 16 * 1024;
/** The key that a login mints. */
export const loginKeyDays = 90;

// the process
export const drainMsMax = 15_000;
export const sandboxesMax = 16;
/** While it starts, how often the service manager is asked for more time, and for how much. */
export const startExtendEveryMs = 10_000;
export const startExtendMs = 30_000;
/**
 * How long a message to the service manager may hold up everything: only one that reads nothing lets
 * its queue fill up. A lost sign of life is followed by another.
 */
export const notifySendMsMax = 100;
/** A watchdog that is more patient is told so as if it were not: timers have an end, too. */
export const watchdogMsMax = 3_600_000;
/** `sun_path` holds this many bytes, the last of them a zero. */
export const socketPathBytesMax = 107;
/** Size of a configuration file, and of a file that a `_FILE` variable names. */
export const settingBytesMax = 64 * 1024;
