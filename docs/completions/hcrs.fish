complete -c hcrs -s c -l config -d 'The settings: a TOML file, file:PATH in Python, or python:MODULE' -r
complete -c hcrs -s b -l bind -d 'Where to listen: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -l insecure-bind -d 'Where to listen without TLS, beside bind with TLS [default: []]' -r
complete -c hcrs -l quic-bind -d 'Ignored: HTTP/3 is not spoken' -r
complete -c hcrs -l backlog -d 'Connections that may wait to be accepted, for each listener [default: 100]' -r
complete -c hcrs -s m -l umask -d 'What is masked out of the permissions of unix sockets. As a flag in decimal, or as 0o022' -r
complete -c hcrs -s u -l user -d 'The number of the user that owns unix sockets; with group. No privileges are dropped' -r
complete -c hcrs -s g -l group -d 'The number of the group that owns unix sockets; with user' -r
complete -c hcrs -l io-threads -d 'Threads that serve connections. Unset, one for four workers' -r
complete -c hcrs -l root-path -d 'The path below which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -s w -l workers -d 'Worker processes. 0 is taken as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -s k -l worker-class -d 'The workers\' event loop. uvloop and trio have to be installed beside the app [default: asyncio]' -r
complete -c hcrs -l max-requests -d 'A worker that has been given more requests than this is replaced, one worker at a time: the new one is started first, and the old one finishes what it has begun. WebSockets count as one request. 0 and unset: never' -r
complete -c hcrs -l max-requests-jitter -d 'Each worker may be given up to so many requests more than max_requests; how many is drawn when it starts [default: 0]' -r
complete -c hcrs -s p -l pid -d 'The file for the process id; it is removed at the end' -r
complete -c hcrs -l python -d 'The interpreter of the workers. Unset, that of $VIRTUAL_ENV, beside the command, or on PATH' -r
complete -c hcrs -l wsgi-threads -d 'Threads of each worker that runs a WSGI app. Unset, the worker\'s choice' -r
complete -c hcrs -l queue-size -d 'Requests of one thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -l keep-alive -d 'How long a connection may stay without a request, in seconds [default: 5]' -r
complete -c hcrs -l read-timeout -d 'The longest gap in a request\'s body while next to nothing of it waits for the app, in seconds. In Hypercorn: of any read, and unset [default: 60]' -r
complete -c hcrs -l graceful-timeout -d 'How long requests may go on after the signal to stop, or in a worker that is replaced, in seconds [default: 3]' -r
complete -c hcrs -l queue-timeout -d 'How long a request may wait for a worker before it gets 503, in seconds [default: 10]' -r
complete -c hcrs -l certfile -d 'PEM file with the certificate and then its issuers. With keyfile it turns TLS on; one of the two alone is an error' -r
complete -c hcrs -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -l keyfile-password -d 'Decrypts the key. Better set by HCRS_KEYFILE_PASSWORD than by a flag, which others can see' -r
complete -c hcrs -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -l verify-mode -d 'Whether clients are asked for a certificate: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -l ciphers -d 'The cipher suites of TLS 1.2, as a list of OpenSSL\'s. Those of TLS 1.3 are always on [default: ECDHE+AESGCM]' -r
complete -c hcrs -l server-name -d 'The hosts that are served, in any case: NAME goes with every port, NAME:PORT with that one. Requests for others get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -l websocket-ping-interval -d 'How often a WebSocket\'s client is pinged, in seconds; the first time at once. Unset, never' -r
complete -c hcrs -l access-logfile -d 'Where the access log goes: a file, - for standard output, syslog:, unset or empty for nowhere' -r
complete -c hcrs -l access-logformat -d 'What a line of the access log says, in atoms such as %(h)s. Unset, Hypercorn\'s line' -r
complete -c hcrs -l error-logfile -d 'Where the error log goes: a file, - for standard error, syslog:, empty for nowhere [default: -]' -r
complete -c hcrs -l log-level -d 'The least severe message that is logged. Above info there are no access lines either [default: info]' -r
complete -c hcrs -l log-config -d 'The configuration of Python\'s logging in the workers: an INI file, json:FILE or toml:FILE' -r
complete -c hcrs -l statsd-host -d 'host:port of the statsd server that gets metrics, by UDP [default: ]' -r
complete -c hcrs -l statsd-prefix -d 'What the metrics\' names begin with; a dot follows [default: ]' -r
complete -c hcrs -l strict -d 'Take unknown settings for mistakes, not for warnings'
complete -c hcrs -l debug -d 'Turns on the debug mode of asyncio in the workers'
complete -c hcrs -l reload -d 'Replaces the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. If the app cannot be loaded, the old workers serve on until the next change. For development. The configuration is not read again'
complete -c hcrs -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start processes, and end with the server'
complete -c hcrs -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -s V -l version -d 'Print version'
