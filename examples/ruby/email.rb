# frozen_string_literal: true

# Handles DeeToo's "email" jobs, with nothing but the standard library. See README.md.
require "json"
require "openssl"
require "socket"
require "timeout"

MAX_BODY = 1 << 20 # bytes; what DeeToo lets a job be, by default
TOLERANCE = 5 * 60 # seconds; an older delivery may be a replay

# A short key, or none, would let anyone sign.
KEY = ENV.fetch("DEETOO_SECRET", "")[/\Awhsec_(.+)\z/, 1].to_s.unpack1("m")
abort "DEETOO_SECRET must be the job type's secret, whsec_…" if KEY.bytesize < 24

# Whether DeeToo sent this just now: https://www.standardwebhooks.com.
def verified?(headers, body)
  id, timestamp, signatures = headers.values_at("webhook-id", "webhook-timestamp", "webhook-signature").map(&:to_s)
  # A full stop ends the ID in what is signed, so there must be none in it.
  return false if id.empty? || id.include?(".") || (Time.now.to_i - timestamp.to_i).abs > TOLERANCE

  want = "v1,#{[OpenSSL::HMAC.digest("SHA256", KEY, "#{id}.#{timestamp}.".b + body)].pack("m0")}"
  # While a secret is rotated there are several signatures. secure_compare takes
  # the same time wherever they differ, and so tells a forger nothing.
  signatures.split(" ").any? { |signature| OpenSSL.secure_compare(want, signature) }
end

# The job: put your own work here.
def send_email(data, headers)
  to = data["to"] if data.is_a?(Hash)
  # Trying again would not help.
  return 422, { error: "data lacks to" }, { "deetoo-no-retry" => "true" } unless to.is_a?(String) && !to.empty?
  # DeeToo tries again after a backoff.
  return 500, { error: "asked to fail" } if data["fail"] == true

  # Deliveries are at least once: keep the webhook-id with the work done, and
  # drop what you have seen. JSON quotes the newlines that would fake a line.
  $stdout.puts "email to #{to.to_json} job #{headers["deetoo-job-id"]} attempt #{headers["deetoo-attempt"]}"
  [200, { sent_to: to }]
end

def handle(verb, path, headers, body)
  return 404, { error: "no such path" } unless path == "/email"
  return 405, { error: "POST only" } unless verb == "POST"
  return 413, { error: "body too large" } if body.bytesize > MAX_BODY
  return 401, { error: "bad signature" } unless verified?(headers, body)

  begin
    data = JSON.parse(body.force_encoding("UTF-8"))
  rescue JSON::ParserError
    data = nil
  end
  send_email(data, headers)
end

# Ruby's own library has no web server: the rest is what Rack and Puma do in an application.
def read_request(socket)
  verb, path = socket.gets("\r\n", 8192).to_s.split
  headers = {}
  100.times do
    name, value = socket.gets("\r\n", 8192).to_s.chomp.split(":", 2)
    break unless value

    headers[name.downcase] = value.strip
  end
  length = headers["content-length"].to_i.clamp(0, MAX_BODY + 1)
  [verb, path, headers, socket.read(length).to_s] # the bytes as they came: they are what is signed
end

def serve(socket)
  socket.binmode
  request = Timeout.timeout(10) { read_request(socket) } # slow senders must not pile up
  status, result, headers = handle(*request)
  body = result.to_json
  head = { "content-type" => "application/json", "content-length" => body.bytesize, "connection" => "close", **headers.to_h }
  socket.write("HTTP/1.1 #{status} \r\n", head.map { |name, value| "#{name}: #{value}\r\n" }.join, "\r\n", body)
rescue StandardError => e # no answer is a failure as well, and tried again
  warn e.full_message(highlight: false)
ensure
  socket.close
end

$stdout.sync = true
jobs = ThreadGroup.new
server = TCPServer.new("127.0.0.1", Integer(ENV.fetch("PORT", "9000")))
trap("TERM") { exit }
begin
  loop { jobs.add(Thread.new(server.accept) { |socket| serve(socket) }) }
ensure # takes no more, and waits for the running jobs
  server.close
  jobs.list.each(&:join)
end
