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
  /** Records of one message: some MB of JSON, two groups of endpoints in metrics, and a few seconds of an instance. */
  recordsPerTick: 200,
  /** Pub/Sub caps a message at 10 MB, Eventarc at 512 KB; nothing of ours needs a tenth of it. */
  messageBytesMax: 256 * 1024,
  /** Problems of one message that are told, and how much of each: a bad message of 256 KB could have 100,000. */
  problemsMax: 20,
  problemCharsMax: 300,
  /** Of a message that quotes what came, in the log; Cloud Logging takes 256 KiB. */
  loggedCharsMax: 8 * 1024,
  /** Requests in one window, reported or read: 200,000 a second for two months. Sums of them stay exact. */
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
  /** Vertex refuses larger bodies on shared public endpoints, and on those with a host of their own. */
  predictBytesMax: 1_572_864,
  predictDedicatedBytesMax: 10 * 1024 * 1024,
  /** The largest answer of `:predict` that is held in memory; Vertex's own bound on dedicated endpoints. */
  predictAnswerBytesMax: 10 * 1024 * 1024,
  /** Of all callers' bodies and answers, held at once by one instance of 512 MiB, a third of which Node and the code take. */
  predictHeldBytesMax: 128 * 1024 * 1024,
  /** An answer that its caller does not read holds memory and a place: 10 MiB at 180 KiB/s. */
  predictAnswerDeadlineMs: 60_000,
  /** Of each header that goes upstream; a type, an encoding or a list of types takes a tenth. */
  passedHeaderCharactersMax: 1024,
  /** Lines of the log that the metrics are made of: how often, and how many at once. */
  answersIntervalMs: 60_000,
  answerLinesMax: 256,
  /** Between two looks at the proxy's deadlines; that one has passed may be seen two looks late. */
  deadlineLookMs: 100,
  /** Vertex gives a prediction 60 s on shared public endpoints. */
  predictDeadlineMs: 60_000,
  /** A stream may be a long text; it still ends. */
  predictStreamDeadlineMs: 600_000,
  /** A connection to Google takes milliseconds; seconds are a fault, and the caller waits. */
  predictConnectDeadlineMs: 5_000,
  /** How old the proxy's list of endpoints may be. */
  proxyPoliciesKeepMs: 30_000,
  /** How old the first such list may be when it is taken, which was asked for before anyone came; then it is kept like any other. */
  policiesAheadKeepMs: 5_000,
  /** How many paths of callers are known without being parsed again. */
  parsedPathsMax: 100,
  /** The proxy reports each endpoint's counts at most this often. */
  evidenceIntervalMs: 5_000,
  /** While a local test says that one DeployedModel is worse: a window that began before the share did is soon over. */
  evidenceUrgentIntervalMs: 1_000,
  evidenceUrgentMs: 30_000,
  /** One DeployedModel alone has answered for longer than a usual hold at 100 %: nobody waits for the counts. */
  evidenceSteadyMs: 3_600_000,
  evidenceSteadyIntervalMs: 60_000,
  /** How often the local tests go on, with errors and without: a thousandth of a CPU. They begin anew after a while. */
  alarmFailingMs: 100,
  alarmQuietMs: 1_000,
  alarmWatchMs: 600_000,
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
  /** Answers that one instance keeps; the smallest instance has 256 MiB. */
  cacheBytesMax: 32 * 1024 * 1024,
  /** Larger answers are rare, and would push many others out. */
  cacheAnswerBytesMax: 256 * 1024,
  /** Finding the canonical form of so much takes a few milliseconds, for which other callers wait. */
  cacheQuestionBytesMax: 64 * 1024,
  /** Deeper JSON is no question to a model. */
  cacheDepthMax: 64,
  /** Live answers in a row by one DeployedModel before the cache is used: at half the traffic, once in a million runs. */
  cacheAnswersMin: 20,
  /** Redis answers within a millisecond or two. Later, the model is asked. */
  redisDeadlineMs: 50,
  /** So many late answers in a row, and the connection is given up. */
  redisLateMax: 3,
  /** Nobody waits for a connection, which may need TLS. */
  redisConnectDeadlineMs: 1_000,
  /** A Redis that failed is not asked for so long. */
  redisRestMs: 5_000,
  /** Answers on their way to Redis; what comes on top is not kept. */
  redisWritingBytesMax: 4 * 1024 * 1024,
  /** Requests to shadows at once, waiting, and the bytes of those that wait. Beyond, they are dropped. */
  shadowCallsMax: 8,
  shadowQueueMax: 64,
  shadowQueueBytesMax: 8 * 1024 * 1024,
  /** Nobody waits for a shadow, but its place is wanted. */
  shadowDeadlineMs: 30_000,
  /** Evidence that ended longer ago says little of now, and comes from a backlog or a wrong clock. */
  evidenceAgeMaxMs: 24 * 60 * 60 * 1000,
  /** Clocks differ by seconds; what is dated further ahead has a wrong one. */
  evidenceAheadMaxMs: 5 * 60 * 1000,
  /** Answers of one DeployedModel that the proxy looks into for drift: at most some 1 % of a CPU. */
  sampledAnswersPerSecondMax: 20,
  /** Parsing so much takes about half a millisecond, for which other callers wait. Larger answers are not sampled. */
  sampledAnswerBytesMax: 64 * 1024,
  /** In so many pieces; each takes memory of its own, however small. */
  sampledAnswerPiecesMax: 64,
  /** What a piece of a body or an answer takes at least, as Node hands it on. */
  pieceBytesMin: 512,
  /** Requests under way in one instance of the proxy, each with its connection upstream. Beyond, queueing helps nobody. */
  predictInFlightMax: 4096,
  /** Where nobody knows when it will be better: soon enough for a person, and rare enough for a crowd. */
  tryLaterMs: 5_000,
  /** A body of 1.5 MiB takes this long at 50 KiB/s. Whoever sends slower holds a place that others need. */
  predictBodyDeadlineMs: 30_000,
  /** Headers come in one packet; what dribbles in is an attack. */
  requestHeadersDeadlineMs: 10_000,
  /** Longer than Google's load balancers keep a connection (600 s), so that a reused one is not being closed by us. */
  keepAliveMs: 620_000,
  /** Cloud Run kills ten seconds after SIGTERM; the requests have most of them, and the last evidence the rest. */
  shutdownDrainMs: 8_000,
  shutdownFlushMs: 1_500,
  /** A signed token with a page of claims; Google's have 1 KB. */
  tokenCharactersMax: 8 * 1024,
  /** Key sets have a few keys. Callers wait for them to come. */
  jwksBytesMax: 256 * 1024,
  jwksDeadlineMs: 5_000,
  /** So long at most waits who could also be checked with the keys there are, or asked for with the last token. */
  patienceMs: 1_000,
  /** Keys are fetched again when they are this old; old ones serve for as long as that fails, up to an hour. */
  jwksKeepMs: 600_000,
  jwksKeepMsMax: 3_600_000,
  /** Tokens with made-up key ids must not make us ask for the keys more often; nor must an issuer that is down. */
  jwksCooldownMs: 30_000,
  jwksFailureCooldownMs: 5_000,
  /** Of ten seconds' requests to an endpoint so many must fail on the way, and so many of all. A canary of 50 % does not. */
  breakerWindowMs: 10_000,
  breakerFailuresMin: 20,
  breakerFailedRatio: 0.95,
  /** After breaking, the first try comes this soon, and then half as often each time. */
  breakerBackoffMs: 2_000,
  breakerBackoffMsMax: 60_000,
  /** Retries per first attempt, and how many may be saved for a bad moment. */
  retryRatio: 0.1,
  retriesSavedMax: 10,
  /** Reconcile's schedule, as Terraform has it. */
  reconcileMs: 10 * 60 * 1000,
  /** Whoever a rollout waits for is told at once, and then so often. */
  remindMs: 24 * 60 * 60 * 1000,
  /** What an ended rollout left deployed is looked for so long: a thousand tries. Later, `rollouts doctor` finds it. */
  leftoversMs: 7 * 24 * 60 * 60 * 1000,
  /** Ended rollouts and journals are kept so long: more than a year, for an audit. */
  historyKeepMs: 400 * 86_400_000,
} as const;
