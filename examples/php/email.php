<?php
// Handles DeeToo's "email" jobs, with nothing but PHP's own extensions. See README.md.
declare(strict_types=1);

const MAX_BODY = 1 << 20;  // bytes; what DeeToo lets a job be, by default
const TOLERANCE = 5 * 60;  // seconds; an older delivery may be a replay

/** The key in a whsec_ secret. A short key, or none, would let anyone sign. */
function readKey(string $secret): string
{
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6), true) : false;
    if ($key === false || strlen($key) < 24) {
        error_log("DEETOO_SECRET must be the job type's secret, whsec_…");
        answer(500, ['error' => 'the handler is not configured']);
    }
    return $key;
}

/** Whether DeeToo sent this just now: https://www.standardwebhooks.com. */
function verified(string $key, string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    // A full stop ends the ID in what is signed, so there must be none in it.
    if ($id === '' || str_contains($id, '.') || !ctype_digit($timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $want = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    // While a secret is rotated there are several signatures. hash_equals takes
    // the same time wherever they differ, and so tells a forger nothing.
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (hash_equals($want, $signature)) {
            return true;
        }
    }
    return false;
}

/** The job: put your own work here. */
function sendEmail(mixed $data): never
{
    $to = is_array($data) ? $data['to'] ?? null : null;
    if (!is_string($to) || $to === '') {
        header('deetoo-no-retry: true');  // trying again would not help
        answer(422, ['error' => 'data lacks to']);
    }
    if (($data['fail'] ?? null) === true) {  // DeeToo tries again after a backoff
        answer(500, ['error' => 'asked to fail']);
    }
    // Deliveries are at least once: keep the webhook-id with the work done, and
    // drop what you have seen. JSON quotes the newlines that would fake a line.
    error_log(sprintf('email to %s job %s attempt %s', json_encode($to, JSON_UNESCAPED_SLASHES),
        $_SERVER['HTTP_DEETOO_JOB_ID'] ?? '', $_SERVER['HTTP_DEETOO_ATTEMPT'] ?? ''));
    answer(200, ['sent_to' => $to]);
}

function answer(int $status, array $result): never
{
    http_response_code($status);
    header('content-type: application/json');
    exit(json_encode($result));
}

if (parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH) !== '/email') {
    answer(404, ['error' => 'no such path']);
}
if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
    header('allow: POST');
    answer(405, ['error' => 'POST only']);
}
// The bytes as they came: they are what is signed.
$body = file_get_contents('php://input', length: MAX_BODY + 1);
if (strlen($body) > MAX_BODY) {
    answer(413, ['error' => 'body too large']);
}
if (!verified(readKey((string) getenv('DEETOO_SECRET')), $body)) {
    answer(401, ['error' => 'bad signature']);
}
sendEmail(json_decode($body, true));
