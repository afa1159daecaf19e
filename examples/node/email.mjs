// Handles DeeToo's "email" jobs, with nothing but Node's own modules. See README.md.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const maxBody = 1 << 20; // what DeeToo lets a job be, by default
const tolerance = 5 * 60; // seconds; an older delivery may be a replay

// A short key, or none, would let anyone sign.
const secret = process.env.DEETOO_SECRET ?? "";
const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
if (!secret.startsWith("whsec_") || key.length < 24) {
  console.error("DEETOO_SECRET must be the job type's secret, whsec_…");
  process.exit(1);
}

// Whether DeeToo sent this just now: https://www.standardwebhooks.com.
function verified(headers, body) {
  const { "webhook-id": id = "", "webhook-timestamp": timestamp, "webhook-signature": signatures = "" } = headers;
  // A full stop ends the ID in what is signed, so there must be none in it.
  if (!id || id.includes(".") || !(Math.abs(Date.now() / 1000 - timestamp) <= tolerance)) return false;
  const mac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const want = Buffer.from("v1," + mac.digest("base64"));
  // While a secret is rotated there are several signatures. timingSafeEqual
  // takes the same time wherever they differ, and so tells a forger nothing.
  return signatures.split(" ").map((s) => Buffer.from(s)).some((s) => s.length === want.length && timingSafeEqual(s, want));
}

// The job: put your own work here.
async function sendEmail(data, headers) {
  const to = data?.to;
  if (typeof to !== "string" || to === "") {
    return [422, { error: "data lacks to" }, { "deetoo-no-retry": "true" }]; // trying again would not help
  }
  if (data.fail === true) return [500, { error: "asked to fail" }]; // DeeToo tries again after a backoff
  // Deliveries are at least once: keep the webhook-id with the work done, and
  // drop what you have seen. JSON quotes the newlines that would fake a line.
  console.log("email to", JSON.stringify(to), "job", headers["deetoo-job-id"], "attempt", headers["deetoo-attempt"]);
  return [200, { sent_to: to }];
}

async function handle(request) {
  if (request.url !== "/email") return [404, { error: "no such path" }];
  if (request.method !== "POST") return [405, { error: "POST only" }, { allow: "POST" }];
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    if ((size += chunk.length) <= maxBody) chunks.push(chunk);
  }
  if (size > maxBody) return [413, { error: "body too large" }];
  const body = Buffer.concat(chunks); // the bytes as they came: they are what is signed
  if (!verified(request.headers, body)) return [401, { error: "bad signature" }];
  let data = null;
  try {
    data = JSON.parse(body);
  } catch {} // then it has no "to"
  return sendEmail(data, request.headers);
}

// Slow senders must not pile up.
const server = createServer({ requestTimeout: 10_000 }, async (request, response) => {
  const [status, result, headers] = await handle(request).catch((err) => {
    console.error(err);
    return [500, { error: "the handler failed" }]; // tried again
  });
  if (!server.listening) response.setHeader("connection", "close"); // we are shutting down
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(result));
});
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1");

// Takes no more, and the process ends once the running jobs are answered.
process.on("SIGTERM", () => { server.close(); server.closeIdleConnections(); });
