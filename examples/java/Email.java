import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

import static java.nio.charset.StandardCharsets.UTF_8;

/** Handles DeeToo's "email" jobs, with nothing but the JDK. See README.md. */
public class Email {
    static final int MAX_BODY = 1 << 20; // bytes; what DeeToo lets a job be, by default
    static final long TOLERANCE = 5 * 60; // seconds; an older delivery may be a replay

    /** The key in a whsec_ secret. A short key, or none, would let anyone sign. */
    static byte[] readKey(String secret) {
        byte[] key = secret != null && secret.startsWith("whsec_") ? Base64.getDecoder().decode(secret.substring(6)) : new byte[0];
        if (key.length < 24) throw new IllegalArgumentException("DEETOO_SECRET must be the job type's secret, whsec_...");
        return key;
    }

    /** Whether DeeToo sent this just now: https://www.standardwebhooks.com. */
    static boolean verified(byte[] key, HttpExchange http, byte[] body) throws Exception {
        String id = header(http, "webhook-id"), timestamp = header(http, "webhook-timestamp");
        // A full stop ends the ID in what is signed, so there must be none in it.
        if (id.isEmpty() || id.contains(".") || !timestamp.matches("\\d{1,18}")) return false;
        if (Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > TOLERANCE) return false;
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((id + "." + timestamp + ".").getBytes(UTF_8));
        byte[] want = ("v1," + Base64.getEncoder().encodeToString(mac.doFinal(body))).getBytes(UTF_8);
        // While a secret is rotated there are several signatures. isEqual takes
        // the same time wherever they differ, and so tells a forger nothing.
        for (String signature : header(http, "webhook-signature").split(" ")) {
            if (MessageDigest.isEqual(want, signature.getBytes(UTF_8))) return true;
        }
        return false;
    }

    /** The job: put your own work here. */
    static void sendEmail(HttpExchange http, Map<String, String> data) throws IOException {
        String to = data.getOrDefault("to", "");
        if (!to.startsWith("\"") || to.equals("\"\"")) {
            http.getResponseHeaders().set("deetoo-no-retry", "true"); // trying again would not help
            answer(http, 422, "{\"error\": \"data lacks to\"}");
        } else if (data.getOrDefault("fail", "").equals("true")) { // DeeToo tries again after a backoff
            answer(http, 500, "{\"error\": \"asked to fail\"}");
        } else {
            // Deliveries are at least once: keep the webhook-id with the work done, and
            // drop what you have seen. Being JSON, the address has no newline to fake a line.
            System.out.println("email to " + to + " job " + header(http, "deetoo-job-id") + " attempt " + header(http, "deetoo-attempt"));
            answer(http, 200, "{\"sent_to\": " + to + "}");
        }
    }

    static void handle(byte[] key, HttpExchange http) throws Exception {
        // The bytes as they came: they are what is signed.
        byte[] body = http.getRequestBody().readNBytes(MAX_BODY + 1);
        if (!http.getRequestURI().getPath().equals("/email")) answer(http, 404, "{\"error\": \"no such path\"}");
        else if (!http.getRequestMethod().equals("POST")) answer(http, 405, "{\"error\": \"POST only\"}");
        else if (body.length > MAX_BODY) answer(http, 413, "{\"error\": \"body too large\"}");
        else if (!verified(key, http, body)) answer(http, 401, "{\"error\": \"bad signature\"}");
        else sendEmail(http, fields(new String(body, UTF_8)));
    }

    /** The JDK reads no JSON: this finds the fields of a valid object, their values still JSON. In an application, use a library. */
    static Map<String, String> fields(String json) {
        Map<String, String> fields = new HashMap<>();
        String name = "";
        for (int i = 0, start = 0, depth = 0; i < json.length(); i++) {
            char c = json.charAt(i);
            if (c == '"') {
                while (++i < json.length() && json.charAt(i) != '"') if (json.charAt(i) == '\\') i++;
            } else if (depth == 1 && c == ':') {
                name = json.substring(start, i).strip().replace("\"", "");
                start = i + 1;
            } else {
                if (depth == 1 && (c == ',' || c == '}')) fields.put(name, json.substring(start, i).strip());
                if (c == '{' || c == '[') depth++;
                if (c == '}' || c == ']') depth--;
                if (depth == 1 && (c == '{' || c == ',')) start = i + 1;
            }
        }
        return fields;
    }

    static String header(HttpExchange http, String name) {
        String value = http.getRequestHeaders().getFirst(name);
        return value == null ? "" : value;
    }

    static void answer(HttpExchange http, int status, String json) throws IOException {
        byte[] body = json.getBytes(UTF_8);
        http.getResponseHeaders().set("content-type", "application/json");
        http.sendResponseHeaders(status, body.length);
        http.getResponseBody().write(body);
    }

    /** Takes no more, and waits for the running jobs. */
    static void finish(HttpServer server, ExecutorService jobs) {
        // In a thread, since before JDK 21 stop always takes its whole delay.
        var stop = new Thread(() -> server.stop(30));
        stop.setDaemon(true);
        stop.start();
        jobs.shutdown();
        try {
            jobs.awaitTermination(30, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    public static void main(String[] args) throws Exception {
        byte[] key = readKey(System.getenv("DEETOO_SECRET"));
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "9000"));
        System.setProperty("sun.net.httpserver.maxReqTime", "10"); // seconds; slow senders must not pile up
        System.setProperty("sun.net.httpserver.nodelay", "true"); // or each answer may wait 40 ms
        var jobs = Executors.newCachedThreadPool();
        var server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(jobs);
        server.createContext("/", http -> {
            try (http) {
                handle(key, http);
            } catch (Exception e) { // no answer is a failure as well, and tried again
                e.printStackTrace();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> finish(server, jobs)));
        server.start();
    }
}
