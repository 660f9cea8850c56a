/** Every bound of the running system, with its reason. The machine's own bounds are in machines/rollout/limits.ts. */

export const limits = {
  /** A unary Google call answers within a second; ten are a fault, and the tick has 60 in all. */
  callDeadlineMs: 10_000,
  /** After its deadline a call has this long to report it by itself, before it is given up on. */
  callGraceMs: 250,
  /** Reading metrics of many endpoints takes longer than one resource. */
  metricsDeadlineMs: 30_000,
  /** Conflicts heal by loading again; more than this many in a row is a livelock, left to the next tick. */
  commitAttemptsMax: 8,
  /** The split is read, written and confirmed at most this often per invocation. */
  settleAttemptsMax: 5,
  /** A commit takes 0.1 s, a client's first call two. A canary that must go is not left in place for longer. */
  storePatienceMs: 3_000,
  /** Rounds of effect → result → effect in one invocation; a rollout needs at most three in a row. */
  effectRoundsMax: 10,
  /** Records worked on at once by one instance. */
  concurrencyMax: 16,
  /** Records of one message: some 10 MB, two groups of endpoints in metrics, and a few seconds of an instance. */
  recordsPerTick: 200,
  /** Pub/Sub caps a message at 10 MB, Eventarc at 512 KB; nothing of ours needs a tenth of it. */
  messageBytesMax: 256 * 1024,
  /** Problems of one message that are told, and how much of each: a bad message of 256 KB could have 100,000. */
  problemsMax: 20,
  problemCharsMax: 300,
  /** Of a message that quotes what came, in the log; Cloud Logging takes 256 KiB. */
  loggedCharsMax: 8 * 1024,
  /** Requests in one reported window: 200,000 a second for two months. Sums of them stay exact. */
  countMax: 1e12,
  /** Periods in one answer, the newest: three hours at Google's minute. */
  evidencePeriodsMax: 180,
  /** Calls for checks under way at once, per kind of source. */
  signalCallsMax: 8,
  /** What one query of a request log may cost: some 3 US cents on demand. BigQuery refuses a dearer one unread. */
  queryBytesBilledMax: 4 * 1024 ** 3,
  /** A query of a day's log takes seconds. BigQuery ends it after this long, before our call is given up on. */
  queryJobMs: 20_000,
  /** Answers to PromQL; an hour of histograms of two variants is a tenth of it. */
  promqlAnswerBytesMax: 4 * 1024 * 1024,
  /** Endpoint ids in one Monitoring filter; keeps the filter far below its length limit. */
  endpointsPerQueryMax: 100,
  /** Pages of one answer; the metrics' hold 100,000 points, the operations' 100. More is a fault of the query. */
  pagesMax: 20,
  /** How long a SQLite writer waits for another process; below the call's deadline. */
  sqliteBusyMs: 5_000,
  /** Policies in the folder; each tick reads them all. */
  policiesMax: 500,
  /** A command is a word and a reason; a reason is a sentence. */
  commandBytesMax: 16 * 1024,
  /** Rollouts and journal entries in one answer of the dashboard. */
  listMax: 200,
  journalMax: 2000,
  /** Vertex refuses larger bodies on shared public endpoints. */
  predictBytesMax: 1_572_864,
  /** The largest answer of `:predict` that is held in memory; Vertex's own bound on dedicated endpoints. */
  predictAnswerBytesMax: 10 * 1024 * 1024,
  /** Vertex gives a prediction 60 s on shared public endpoints. */
  predictDeadlineMs: 60_000,
  /** A stream may be a long text; it still ends. */
  predictStreamDeadlineMs: 600_000,
  /** A connection to Google takes milliseconds; seconds are a fault, and the caller waits. */
  predictConnectDeadlineMs: 5_000,
  /** How old the proxy's list of endpoints may be. */
  proxyPoliciesKeepMs: 30_000,
  /** The proxy reports each endpoint's counts at most this often. */
  evidenceIntervalMs: 5_000,
  /** Without a request for this long, the proxy leaves what it could not report to the next request. */
  evidenceIdleMs: 60_000,
  /** DeployedModels counted apart in one window; an endpoint has a handful. Those beyond count as unattributed. */
  evidenceVariantsMax: 32,
  /** Reported signals, one for each DeployedModel and check, in one window: 128 histograms leave half a message free. */
  evidenceSignalsMax: 128,
  /** Reports in one body; each is a DeployedModel's id and a few outcomes. */
  reportsMax: 100,
  /** A hundred reports take a fifth of it, and other callers wait while it is parsed. */
  reportBytesMax: 64 * 1024,
  /** Evidence that ended longer ago says little of now, and comes from a backlog or a wrong clock. */
  evidenceAgeMaxMs: 24 * 60 * 60 * 1000,
  /** Clocks differ by seconds; what is dated further ahead has a wrong one. */
  evidenceAheadMaxMs: 5 * 60 * 1000,
  /** Answers of one DeployedModel that the proxy looks into for drift: at most some 1 % of a CPU. */
  sampledAnswersPerSecondMax: 20,
  /** Parsing so much takes about half a millisecond, for which other callers wait. Larger answers are not sampled. */
  sampledAnswerBytesMax: 64 * 1024,
} as const;
