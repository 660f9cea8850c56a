/** The prediction proxy on plain node:http, for Cloud Run without functions-framework: `node functions/serve-predict-http.ts`. */
import { createServer } from 'node:http';
import { endOnSigterm, guardServer, serverOptions } from './proxy/server.ts';
import { predict } from './serve-predict.ts';

const server = createServer(serverOptions, predict);
guardServer(server);
endOnSigterm(server, predict);
server.listen(Number(process.env['PORT'] ?? 8080));
