# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_hcrs_global_optspecs
    string join \n c/config= strict b/bind= insecure-bind= quic-bind= backlog= m/umask= u/user= g/group= io-threads= root-path= w/workers= k/worker-class= debug reload D/daemon max-requests= max-requests-jitter= p/pid= python= wsgi-threads= queue-size= queue-bytes= keep-alive= read-timeout= graceful-timeout= retire-timeout= queue-timeout= worker-timeout= certfile= keyfile= keyfile-password= ca-certs= verify-mode= ciphers= server-name= websocket-ping-interval= access-logfile= access-logformat= error-logfile= log-level= log-config= statsd-host= statsd-prefix= h/help V/version
end

function __fish_hcrs_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_hcrs_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_hcrs_using_subcommand
    set -l cmd (__fish_hcrs_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c hcrs -n "__fish_hcrs_needs_command" -s c -l config -d 'The settings: a TOML file, file:PATH in Python, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s b -l bind -d 'Where to listen: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l insecure-bind -d 'Where to listen without TLS, beside bind with TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l quic-bind -d 'Ignored: HTTP/3 is not spoken' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l backlog -d 'Connections that may wait to be accepted, for each listener [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s m -l umask -d 'What is masked out of the permissions of unix sockets. As a flag in decimal, or as 0o022' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s u -l user -d 'The number of the user that owns unix sockets; with group. No privileges are dropped' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s g -l group -d 'The number of the group that owns unix sockets; with user' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l io-threads -d 'Threads that serve connections. Unset, one for four workers' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l root-path -d 'The path below which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s w -l workers -d 'Worker processes. 0 is taken as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s k -l worker-class -d 'The workers\' event loop. uvloop and trio have to be installed beside the app [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-requests -d 'A worker that has been given more requests than this is replaced, one worker at a time: the new one is started first, and the old one finishes what it has begun. WebSockets count as one request. 0 and unset: never' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-requests-jitter -d 'Each worker may be given up to so many requests more than max_requests; how many is drawn when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s p -l pid -d 'The file for the process id; it is removed at the end' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l python -d 'The interpreter of the workers. Unset, that of python -m hcrs, of the virtual environment in which the command is installed, of $VIRTUAL_ENV, beside the command, or on PATH' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l wsgi-threads -d 'Threads of each worker that runs a WSGI app. Unset, the worker\'s choice' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l queue-size -d 'Requests of one thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l queue-bytes -d 'Bytes that the requests of one thread may hold, heads and what has come of bodies, until a worker begins them; more get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l keep-alive -d 'How long a connection may stay without a request, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l read-timeout -d 'The longest gap in a request\'s body while next to nothing of it waits for the app, and in a message of a WebSocket, in seconds. In Hypercorn: of any read, and unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l graceful-timeout -d 'How long requests, and what the app does after its responses, may go on after the signal to stop, in seconds. What is left is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l retire-timeout -d 'How long requests and WebSockets may go on in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader no longer than graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l queue-timeout -d 'How long a request may wait, from its arrival until a worker begins it, before it gets 503, in seconds [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l worker-timeout -d 'How long a worker may give no sign of life before it is killed and replaced, in seconds; 0 for ever. Its event loop gives one when it turns, a pool of WSGI threads when one of them is free, waits for a client or ends a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l certfile -d 'PEM file with the certificate and then its issuers. With keyfile it turns TLS on; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l keyfile-password -d 'Decrypts the key. Better set by HCRS_KEYFILE_PASSWORD than by a flag, which others can see' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l verify-mode -d 'Whether clients are asked for a certificate: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l ciphers -d 'The cipher suites of TLS 1.2, as a list of OpenSSL\'s. Those of TLS 1.3 are always on [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l server-name -d 'The hosts that are served, in any case: NAME goes with every port, NAME:PORT with that one. Requests for others get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l websocket-ping-interval -d 'How often a WebSocket\'s client is pinged, in seconds; the first time at once. Unset, never' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l access-logfile -d 'Where the access log goes: a file, - for standard output, syslog:, unset or empty for nowhere' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l access-logformat -d 'What a line of the access log says, in atoms such as %(h)s. Unset, Hypercorn\'s line' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l error-logfile -d 'Where the error log goes: a file, - for standard error, syslog:, empty for nowhere [default: -]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l log-level -d 'The least severe message that is logged. Above info there are no access lines either [default: info]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l log-config -d 'The configuration of Python\'s logging in the workers: an INI file, or one in JSON or TOML that is called so, as log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l statsd-host -d 'host:port of the statsd server that gets metrics, by UDP [default: ]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l statsd-prefix -d 'What the metrics\' names begin with; a dot follows [default: ]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l strict -d 'Take unknown settings for mistakes, not for warnings'
complete -c hcrs -n "__fish_hcrs_needs_command" -l debug -d 'Turns on the debug mode of asyncio in the workers'
complete -c hcrs -n "__fish_hcrs_needs_command" -l reload -d 'Replaces the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. If the app cannot be loaded, the old workers serve on until the next change. For development. The configuration is not read again'
complete -c hcrs -n "__fish_hcrs_needs_command" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start processes, and end with the server'
complete -c hcrs -n "__fish_hcrs_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_needs_command" -s V -l version -d 'Print version'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "config" -d 'Checks or shows a configuration'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "cert" -d 'Makes certificates'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "migrate" -d 'Makes a hypercorn.toml for hcrs of how another server was started'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and not __fish_seen_subcommand_from check show" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "check" -d 'Says everything that is wrong with a configuration'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "show" -d 'Says what each setting is, and where that comes from'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s c -l config -d 'The settings: a TOML file, file:PATH in Python, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s b -l bind -d 'Where to listen: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l insecure-bind -d 'Where to listen without TLS, beside bind with TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l quic-bind -d 'Ignored: HTTP/3 is not spoken' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l backlog -d 'Connections that may wait to be accepted, for each listener [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s m -l umask -d 'What is masked out of the permissions of unix sockets. As a flag in decimal, or as 0o022' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s u -l user -d 'The number of the user that owns unix sockets; with group. No privileges are dropped' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s g -l group -d 'The number of the group that owns unix sockets; with user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l io-threads -d 'Threads that serve connections. Unset, one for four workers' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l root-path -d 'The path below which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s w -l workers -d 'Worker processes. 0 is taken as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s k -l worker-class -d 'The workers\' event loop. uvloop and trio have to be installed beside the app [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-requests -d 'A worker that has been given more requests than this is replaced, one worker at a time: the new one is started first, and the old one finishes what it has begun. WebSockets count as one request. 0 and unset: never' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-requests-jitter -d 'Each worker may be given up to so many requests more than max_requests; how many is drawn when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s p -l pid -d 'The file for the process id; it is removed at the end' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l python -d 'The interpreter of the workers. Unset, that of python -m hcrs, of the virtual environment in which the command is installed, of $VIRTUAL_ENV, beside the command, or on PATH' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l wsgi-threads -d 'Threads of each worker that runs a WSGI app. Unset, the worker\'s choice' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l queue-size -d 'Requests of one thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l queue-bytes -d 'Bytes that the requests of one thread may hold, heads and what has come of bodies, until a worker begins them; more get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l keep-alive -d 'How long a connection may stay without a request, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l read-timeout -d 'The longest gap in a request\'s body while next to nothing of it waits for the app, and in a message of a WebSocket, in seconds. In Hypercorn: of any read, and unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l graceful-timeout -d 'How long requests, and what the app does after its responses, may go on after the signal to stop, in seconds. What is left is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l retire-timeout -d 'How long requests and WebSockets may go on in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader no longer than graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l queue-timeout -d 'How long a request may wait, from its arrival until a worker begins it, before it gets 503, in seconds [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l worker-timeout -d 'How long a worker may give no sign of life before it is killed and replaced, in seconds; 0 for ever. Its event loop gives one when it turns, a pool of WSGI threads when one of them is free, waits for a client or ends a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l certfile -d 'PEM file with the certificate and then its issuers. With keyfile it turns TLS on; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l keyfile-password -d 'Decrypts the key. Better set by HCRS_KEYFILE_PASSWORD than by a flag, which others can see' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l verify-mode -d 'Whether clients are asked for a certificate: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l ciphers -d 'The cipher suites of TLS 1.2, as a list of OpenSSL\'s. Those of TLS 1.3 are always on [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l server-name -d 'The hosts that are served, in any case: NAME goes with every port, NAME:PORT with that one. Requests for others get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l websocket-ping-interval -d 'How often a WebSocket\'s client is pinged, in seconds; the first time at once. Unset, never' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l access-logfile -d 'Where the access log goes: a file, - for standard output, syslog:, unset or empty for nowhere' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l access-logformat -d 'What a line of the access log says, in atoms such as %(h)s. Unset, Hypercorn\'s line' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l error-logfile -d 'Where the error log goes: a file, - for standard error, syslog:, empty for nowhere [default: -]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l log-level -d 'The least severe message that is logged. Above info there are no access lines either [default: info]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l log-config -d 'The configuration of Python\'s logging in the workers: an INI file, or one in JSON or TOML that is called so, as log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l statsd-host -d 'host:port of the statsd server that gets metrics, by UDP [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l statsd-prefix -d 'What the metrics\' names begin with; a dot follows [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l strict -d 'Take unknown settings for mistakes, not for warnings'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l debug -d 'Turns on the debug mode of asyncio in the workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l reload -d 'Replaces the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. If the app cannot be loaded, the old workers serve on until the next change. For development. The configuration is not read again'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start processes, and end with the server'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'The settings: a TOML file, file:PATH in Python, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s b -l bind -d 'Where to listen: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l insecure-bind -d 'Where to listen without TLS, beside bind with TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l quic-bind -d 'Ignored: HTTP/3 is not spoken' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l backlog -d 'Connections that may wait to be accepted, for each listener [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s m -l umask -d 'What is masked out of the permissions of unix sockets. As a flag in decimal, or as 0o022' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s u -l user -d 'The number of the user that owns unix sockets; with group. No privileges are dropped' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s g -l group -d 'The number of the group that owns unix sockets; with user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l io-threads -d 'Threads that serve connections. Unset, one for four workers' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l root-path -d 'The path below which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s w -l workers -d 'Worker processes. 0 is taken as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s k -l worker-class -d 'The workers\' event loop. uvloop and trio have to be installed beside the app [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-requests -d 'A worker that has been given more requests than this is replaced, one worker at a time: the new one is started first, and the old one finishes what it has begun. WebSockets count as one request. 0 and unset: never' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-requests-jitter -d 'Each worker may be given up to so many requests more than max_requests; how many is drawn when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s p -l pid -d 'The file for the process id; it is removed at the end' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l python -d 'The interpreter of the workers. Unset, that of python -m hcrs, of the virtual environment in which the command is installed, of $VIRTUAL_ENV, beside the command, or on PATH' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l wsgi-threads -d 'Threads of each worker that runs a WSGI app. Unset, the worker\'s choice' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l queue-size -d 'Requests of one thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l queue-bytes -d 'Bytes that the requests of one thread may hold, heads and what has come of bodies, until a worker begins them; more get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l keep-alive -d 'How long a connection may stay without a request, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l read-timeout -d 'The longest gap in a request\'s body while next to nothing of it waits for the app, and in a message of a WebSocket, in seconds. In Hypercorn: of any read, and unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l graceful-timeout -d 'How long requests, and what the app does after its responses, may go on after the signal to stop, in seconds. What is left is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l retire-timeout -d 'How long requests and WebSockets may go on in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader no longer than graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l queue-timeout -d 'How long a request may wait, from its arrival until a worker begins it, before it gets 503, in seconds [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l worker-timeout -d 'How long a worker may give no sign of life before it is killed and replaced, in seconds; 0 for ever. Its event loop gives one when it turns, a pool of WSGI threads when one of them is free, waits for a client or ends a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l certfile -d 'PEM file with the certificate and then its issuers. With keyfile it turns TLS on; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l keyfile-password -d 'Decrypts the key. Better set by HCRS_KEYFILE_PASSWORD than by a flag, which others can see' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l verify-mode -d 'Whether clients are asked for a certificate: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l ciphers -d 'The cipher suites of TLS 1.2, as a list of OpenSSL\'s. Those of TLS 1.3 are always on [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l server-name -d 'The hosts that are served, in any case: NAME goes with every port, NAME:PORT with that one. Requests for others get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l websocket-ping-interval -d 'How often a WebSocket\'s client is pinged, in seconds; the first time at once. Unset, never' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l access-logfile -d 'Where the access log goes: a file, - for standard output, syslog:, unset or empty for nowhere' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l access-logformat -d 'What a line of the access log says, in atoms such as %(h)s. Unset, Hypercorn\'s line' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l error-logfile -d 'Where the error log goes: a file, - for standard error, syslog:, empty for nowhere [default: -]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l log-level -d 'The least severe message that is logged. Above info there are no access lines either [default: info]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l log-config -d 'The configuration of Python\'s logging in the workers: an INI file, or one in JSON or TOML that is called so, as log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l statsd-host -d 'host:port of the statsd server that gets metrics, by UDP [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l statsd-prefix -d 'What the metrics\' names begin with; a dot follows [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l strict -d 'Take unknown settings for mistakes, not for warnings'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l debug -d 'Turns on the debug mode of asyncio in the workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l reload -d 'Replaces the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. If the app cannot be loaded, the old workers serve on until the next change. For development. The configuration is not read again'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start processes, and end with the server'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and not __fish_seen_subcommand_from dev" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and not __fish_seen_subcommand_from dev" -f -a "dev" -d 'Writes cert.pem and key.pem, a certificate for developing on this machine that is good for twelve days, and ca.pem, the local authority that has signed it'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -l dir -d 'The folder; it is made if need be' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -l name -d 'A host name or address in the certificate; may be repeated' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -l force -d 'Replace a certificate that is still good'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -s V -l version -d 'Print version'
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l systemd -d 'The unit that starts the other server; the new one is printed, and the hypercorn.toml below it' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l from -d 'Whose settings FILE holds, if that cannot be seen: uvicorn, gunicorn, granian or hypercorn' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -s o -l output -d 'Write the hypercorn.toml to this file' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l unit-output -d 'Write the new unit to this file' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l python -d 'The interpreter that evaluates files in Python' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l force -d 'Replace files that exist'
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -s V -l version -d 'Print version'
