# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_hcrs_global_optspecs
    string join \n c/config= strict b/bind= insecure-bind= quic-bind= backlog= m/umask= u/user= g/group= io-threads= max-body-size= root-path= w/workers= k/worker-class= debug reload D/daemon max-requests= max-requests-jitter= max-worker-age= max-worker-rss= p/pid= preload python= wsgi-threads= queue-size= queue-bytes= proc-name= chdir= env= process-user= process-group= keep-alive= read-timeout= graceful-timeout= retire-timeout= queue-timeout= worker-timeout= certfile= keyfile= keyfile-password= ca-certs= verify-mode= ciphers= server-name= websocket-ping-interval= access-logfile= access-logformat= error-logfile= capture-output log-level= log-config= statsd-host= statsd-prefix= admin-bind= h/help V/version
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

complete -c hcrs -n "__fish_hcrs_needs_command" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s b -l bind -d 'Addresses to listen on: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l insecure-bind -d 'Addresses to listen on without TLS, when bind uses TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l quic-bind -d 'Ignored: HTTP/3 is not supported' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l backlog -d 'Number of connections of each listener that may wait to be accepted [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s m -l umask -d 'Permission bits that unix sockets do not get. On the command line in decimal, or in octal as 0o022' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s u -l user -d 'Numeric user id that owns unix sockets; requires group. The server\'s own user is process_user' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s g -l group -d 'Numeric group id that owns unix sockets; requires user' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l io-threads -d 'Number of edge threads, which serve connections. Unset, one for every four workers' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-body-size -d 'Largest body of a request to the app, in bytes, or with K, M or G as "10M". A longer one is answered with 413: at once if content-length names its length, and otherwise when it has grown beyond; the app sees its client leave. A route may have its own. Unset, no limit' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l root-path -d 'The path at which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s w -l workers -d 'Number of worker processes. "auto" starts one for each core that the server may use, by its CPU affinity and the CPU quota of its cgroup (whole cores, at least one). 0 is treated as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s k -l worker-class -d 'The event loop of the workers. uvloop and trio must be installed in the app\'s environment [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-requests -d 'Number of requests after which a worker is replaced, one worker at a time: the new one starts first, and the old one finishes the requests that it has begun. A WebSocket counts as one request. 0 or unset, workers are not replaced' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-requests-jitter -d 'Largest random number of requests that is added to max_requests, drawn for each worker when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-worker-age -d 'Age in seconds at which a worker is replaced, as with max_requests; up to a tenth earlier, by chance, so that workers are not replaced together' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l max-worker-rss -d 'Resident memory in bytes at which a worker is replaced, as with max_requests; up to a tenth less, by chance. It is looked at every two seconds' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -s p -l pid -d 'File for the process id; removed when the server ends' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l python -d 'The Python interpreter of the workers. Unset, the first of: that of python -m hcrs, the virtual environment in which the command is installed, $VIRTUAL_ENV, beside the command, PATH' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l wsgi-threads -d 'Number of threads in each worker of a WSGI app. Unset, the worker chooses' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l queue-size -d 'Number of requests of one edge thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l queue-bytes -d 'Memory that requests of one edge thread may hold before a worker begins them, in bytes of heads and received bodies; requests beyond it get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l proc-name -d 'Name with which the titles of the processes begin in ps and top, as in "hcrs: worker 3 (main:app)" [default: hcrs]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l chdir -d 'Directory that the server changes to once it has read the configuration. Relative paths of all settings are relative to it; itself it is relative to the directory that hcrs is started in' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l env -d 'Environment variables of the workers, in addition to those of the server, as in { LANG = "C.UTF-8" } or ["LANG=C.UTF-8"]. The flag may be repeated' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l process-user -d 'User, by name or number, that the server becomes for good if root has started it, once it has bound its addresses, read keys and certificates and created its files, and before any worker starts. Unset, it keeps its user' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l process-group -d 'Group, by name or number, that the server then has, in addition to those that list the user. Unset, the user\'s own' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l keep-alive -d 'Time after which a connection without a request is closed, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l read-timeout -d 'Longest pause within a request\'s body, while almost nothing of it waits for the app, and within a WebSocket message, in seconds. In Hypercorn it applies to every read and is unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l graceful-timeout -d 'Time for requests, and for the app\'s work after its responses, to finish after the signal to stop, in seconds. The rest is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l retire-timeout -d 'Time for requests and WebSockets to finish in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader at most graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l queue-timeout -d 'Time for which a request may wait, from its arrival, until a worker begins it, in seconds; then it gets 503. Under lasting overload, a twentieth of it is enough [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l worker-timeout -d 'Time without a sign of life after which a worker is killed and replaced, in seconds; 0 disables it. An event loop shows life by each turn, a pool of WSGI threads by a thread that is idle, waits for a client or finishes a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l certfile -d 'PEM file with the certificate, followed by its issuers. With keyfile it enables TLS; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l keyfile-password -d 'Password of the private key. Prefer the variable HCRS_KEYFILE_PASSWORD to the flag, which other users of the machine can see' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l verify-mode -d 'Whether client certificates are requested: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l ciphers -d 'Cipher suites of TLS 1.2, as an OpenSSL cipher list. Those of TLS 1.3 are always enabled [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l server-name -d 'Host names that are served, in any case: NAME for every port, NAME:PORT for one. Requests for other hosts get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l websocket-ping-interval -d 'Interval of pings to a WebSocket\'s client, in seconds; the first is sent at once. Unset, none are sent' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l access-logfile -d 'Destination of the access log: a file, - for standard output, or syslog:; unset or empty disables it' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l access-logformat -d 'Format of a line of the access log, with atoms such as %(h)s. Unset, Hypercorn\'s format' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l error-logfile -d 'Destination of the error log: a file, - for standard error, or syslog:; empty disables it [default: -]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l log-level -d 'Least severe level that is logged. Above info, the access log is off as well [default: info]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l log-config -d 'Configuration file of Python\'s logging in the workers: INI, or JSON or TOML by its extension or prefix, as in log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l statsd-host -d 'Address of the statsd server that receives metrics over UDP, as host:port [default: ]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l statsd-prefix -d 'Prefix of the metrics\' names; a dot follows it [default: ]' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_needs_command" -l strict -d 'Treat unknown settings as errors instead of warnings'
complete -c hcrs -n "__fish_hcrs_needs_command" -l debug -d 'Enables asyncio\'s debug mode in the workers'
complete -c hcrs -n "__fish_hcrs_needs_command" -l reload -d 'Restarts the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. Requests wait for the new code; if it cannot be loaded, they are answered with the traceback. For development. The configuration is not reloaded'
complete -c hcrs -n "__fish_hcrs_needs_command" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start child processes, and they end with the server'
complete -c hcrs -n "__fish_hcrs_needs_command" -l preload -d 'Imports the app once, in a process from which the workers are forked: they share its memory, and one that has died is replaced within milliseconds. SIGHUP and use_reloader load new code all the same. Threads and connections that the app opens at its import do not work in forked workers'
complete -c hcrs -n "__fish_hcrs_needs_command" -l capture-output -d 'Whether what workers and their children write to standard output and standard error goes to the error log, line by line, at every loglevel. Has no effect on a worker that has the terminal'
complete -c hcrs -n "__fish_hcrs_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_needs_command" -s V -l version -d 'Print version'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "status" -d 'Shows a running server: workers, requests, rates, queue and certificates'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "reload" -d 'Reads the certificates again and replaces the workers, as SIGHUP does'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "stop" -d 'Stops a running server, as SIGTERM does'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "scale" -d 'Changes the number of workers of a running server'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "reopen" -d 'Reopens the logs of a running server, as SIGUSR1 does'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "drain" -d 'Tells probes that the server is not ready, so that load balancers send no more'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "dump" -d 'Prints the stacks of all workers of a running server'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "config" -d 'Checks or shows a configuration'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "dev" -d 'Serves an app while it is developed'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "cert" -d 'Creates certificates'
complete -c hcrs -n "__fish_hcrs_needs_command" -a "migrate" -d 'Converts the settings of another server to a hypercorn.toml for hcrs'
complete -c hcrs -n "__fish_hcrs_using_subcommand status" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand status" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand status" -l json -d 'Print the state as JSON'
complete -c hcrs -n "__fish_hcrs_using_subcommand status" -l once -d 'Print the state once, and not every second'
complete -c hcrs -n "__fish_hcrs_using_subcommand status" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand reload" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand reload" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand reload" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand stop" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand stop" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand stop" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand scale" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand scale" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand scale" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand reopen" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand reopen" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand reopen" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand drain" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand drain" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand drain" -l off -d 'Tell probes that the server is ready again'
complete -c hcrs -n "__fish_hcrs_using_subcommand drain" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand dump" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dump" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dump" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and not __fish_seen_subcommand_from check show" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "check" -d 'Checks a configuration and reports every problem'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and not __fish_seen_subcommand_from check show" -f -a "show" -d 'Shows every setting, its value and its origin'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s b -l bind -d 'Addresses to listen on: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l insecure-bind -d 'Addresses to listen on without TLS, when bind uses TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l quic-bind -d 'Ignored: HTTP/3 is not supported' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l backlog -d 'Number of connections of each listener that may wait to be accepted [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s m -l umask -d 'Permission bits that unix sockets do not get. On the command line in decimal, or in octal as 0o022' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s u -l user -d 'Numeric user id that owns unix sockets; requires group. The server\'s own user is process_user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s g -l group -d 'Numeric group id that owns unix sockets; requires user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l io-threads -d 'Number of edge threads, which serve connections. Unset, one for every four workers' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-body-size -d 'Largest body of a request to the app, in bytes, or with K, M or G as "10M". A longer one is answered with 413: at once if content-length names its length, and otherwise when it has grown beyond; the app sees its client leave. A route may have its own. Unset, no limit' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l root-path -d 'The path at which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s w -l workers -d 'Number of worker processes. "auto" starts one for each core that the server may use, by its CPU affinity and the CPU quota of its cgroup (whole cores, at least one). 0 is treated as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s k -l worker-class -d 'The event loop of the workers. uvloop and trio must be installed in the app\'s environment [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-requests -d 'Number of requests after which a worker is replaced, one worker at a time: the new one starts first, and the old one finishes the requests that it has begun. A WebSocket counts as one request. 0 or unset, workers are not replaced' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-requests-jitter -d 'Largest random number of requests that is added to max_requests, drawn for each worker when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-worker-age -d 'Age in seconds at which a worker is replaced, as with max_requests; up to a tenth earlier, by chance, so that workers are not replaced together' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l max-worker-rss -d 'Resident memory in bytes at which a worker is replaced, as with max_requests; up to a tenth less, by chance. It is looked at every two seconds' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s p -l pid -d 'File for the process id; removed when the server ends' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l python -d 'The Python interpreter of the workers. Unset, the first of: that of python -m hcrs, the virtual environment in which the command is installed, $VIRTUAL_ENV, beside the command, PATH' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l wsgi-threads -d 'Number of threads in each worker of a WSGI app. Unset, the worker chooses' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l queue-size -d 'Number of requests of one edge thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l queue-bytes -d 'Memory that requests of one edge thread may hold before a worker begins them, in bytes of heads and received bodies; requests beyond it get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l proc-name -d 'Name with which the titles of the processes begin in ps and top, as in "hcrs: worker 3 (main:app)" [default: hcrs]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l chdir -d 'Directory that the server changes to once it has read the configuration. Relative paths of all settings are relative to it; itself it is relative to the directory that hcrs is started in' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l env -d 'Environment variables of the workers, in addition to those of the server, as in { LANG = "C.UTF-8" } or ["LANG=C.UTF-8"]. The flag may be repeated' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l process-user -d 'User, by name or number, that the server becomes for good if root has started it, once it has bound its addresses, read keys and certificates and created its files, and before any worker starts. Unset, it keeps its user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l process-group -d 'Group, by name or number, that the server then has, in addition to those that list the user. Unset, the user\'s own' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l keep-alive -d 'Time after which a connection without a request is closed, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l read-timeout -d 'Longest pause within a request\'s body, while almost nothing of it waits for the app, and within a WebSocket message, in seconds. In Hypercorn it applies to every read and is unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l graceful-timeout -d 'Time for requests, and for the app\'s work after its responses, to finish after the signal to stop, in seconds. The rest is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l retire-timeout -d 'Time for requests and WebSockets to finish in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader at most graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l queue-timeout -d 'Time for which a request may wait, from its arrival, until a worker begins it, in seconds; then it gets 503. Under lasting overload, a twentieth of it is enough [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l worker-timeout -d 'Time without a sign of life after which a worker is killed and replaced, in seconds; 0 disables it. An event loop shows life by each turn, a pool of WSGI threads by a thread that is idle, waits for a client or finishes a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l certfile -d 'PEM file with the certificate, followed by its issuers. With keyfile it enables TLS; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l keyfile-password -d 'Password of the private key. Prefer the variable HCRS_KEYFILE_PASSWORD to the flag, which other users of the machine can see' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l verify-mode -d 'Whether client certificates are requested: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l ciphers -d 'Cipher suites of TLS 1.2, as an OpenSSL cipher list. Those of TLS 1.3 are always enabled [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l server-name -d 'Host names that are served, in any case: NAME for every port, NAME:PORT for one. Requests for other hosts get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l websocket-ping-interval -d 'Interval of pings to a WebSocket\'s client, in seconds; the first is sent at once. Unset, none are sent' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l access-logfile -d 'Destination of the access log: a file, - for standard output, or syslog:; unset or empty disables it' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l access-logformat -d 'Format of a line of the access log, with atoms such as %(h)s. Unset, Hypercorn\'s format' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l error-logfile -d 'Destination of the error log: a file, - for standard error, or syslog:; empty disables it [default: -]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l log-level -d 'Least severe level that is logged. Above info, the access log is off as well [default: info]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l log-config -d 'Configuration file of Python\'s logging in the workers: INI, or JSON or TOML by its extension or prefix, as in log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l statsd-host -d 'Address of the statsd server that receives metrics over UDP, as host:port [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l statsd-prefix -d 'Prefix of the metrics\' names; a dot follows it [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l strict -d 'Treat unknown settings as errors instead of warnings'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l debug -d 'Enables asyncio\'s debug mode in the workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l reload -d 'Restarts the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. Requests wait for the new code; if it cannot be loaded, they are answered with the traceback. For development. The configuration is not reloaded'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start child processes, and they end with the server'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l preload -d 'Imports the app once, in a process from which the workers are forked: they share its memory, and one that has died is replaced within milliseconds. SIGHUP and use_reloader load new code all the same. Threads and connections that the app opens at its import do not work in forked workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -l capture-output -d 'Whether what workers and their children write to standard output and standard error goes to the error log, line by line, at every loglevel. Has no effect on a worker that has the terminal'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s b -l bind -d 'Addresses to listen on: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l insecure-bind -d 'Addresses to listen on without TLS, when bind uses TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l quic-bind -d 'Ignored: HTTP/3 is not supported' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l backlog -d 'Number of connections of each listener that may wait to be accepted [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s m -l umask -d 'Permission bits that unix sockets do not get. On the command line in decimal, or in octal as 0o022' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s u -l user -d 'Numeric user id that owns unix sockets; requires group. The server\'s own user is process_user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s g -l group -d 'Numeric group id that owns unix sockets; requires user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l io-threads -d 'Number of edge threads, which serve connections. Unset, one for every four workers' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-body-size -d 'Largest body of a request to the app, in bytes, or with K, M or G as "10M". A longer one is answered with 413: at once if content-length names its length, and otherwise when it has grown beyond; the app sees its client leave. A route may have its own. Unset, no limit' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l root-path -d 'The path at which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s w -l workers -d 'Number of worker processes. "auto" starts one for each core that the server may use, by its CPU affinity and the CPU quota of its cgroup (whole cores, at least one). 0 is treated as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s k -l worker-class -d 'The event loop of the workers. uvloop and trio must be installed in the app\'s environment [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-requests -d 'Number of requests after which a worker is replaced, one worker at a time: the new one starts first, and the old one finishes the requests that it has begun. A WebSocket counts as one request. 0 or unset, workers are not replaced' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-requests-jitter -d 'Largest random number of requests that is added to max_requests, drawn for each worker when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-worker-age -d 'Age in seconds at which a worker is replaced, as with max_requests; up to a tenth earlier, by chance, so that workers are not replaced together' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l max-worker-rss -d 'Resident memory in bytes at which a worker is replaced, as with max_requests; up to a tenth less, by chance. It is looked at every two seconds' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s p -l pid -d 'File for the process id; removed when the server ends' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l python -d 'The Python interpreter of the workers. Unset, the first of: that of python -m hcrs, the virtual environment in which the command is installed, $VIRTUAL_ENV, beside the command, PATH' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l wsgi-threads -d 'Number of threads in each worker of a WSGI app. Unset, the worker chooses' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l queue-size -d 'Number of requests of one edge thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l queue-bytes -d 'Memory that requests of one edge thread may hold before a worker begins them, in bytes of heads and received bodies; requests beyond it get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l proc-name -d 'Name with which the titles of the processes begin in ps and top, as in "hcrs: worker 3 (main:app)" [default: hcrs]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l chdir -d 'Directory that the server changes to once it has read the configuration. Relative paths of all settings are relative to it; itself it is relative to the directory that hcrs is started in' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l env -d 'Environment variables of the workers, in addition to those of the server, as in { LANG = "C.UTF-8" } or ["LANG=C.UTF-8"]. The flag may be repeated' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l process-user -d 'User, by name or number, that the server becomes for good if root has started it, once it has bound its addresses, read keys and certificates and created its files, and before any worker starts. Unset, it keeps its user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l process-group -d 'Group, by name or number, that the server then has, in addition to those that list the user. Unset, the user\'s own' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l keep-alive -d 'Time after which a connection without a request is closed, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l read-timeout -d 'Longest pause within a request\'s body, while almost nothing of it waits for the app, and within a WebSocket message, in seconds. In Hypercorn it applies to every read and is unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l graceful-timeout -d 'Time for requests, and for the app\'s work after its responses, to finish after the signal to stop, in seconds. The rest is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l retire-timeout -d 'Time for requests and WebSockets to finish in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader at most graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l queue-timeout -d 'Time for which a request may wait, from its arrival, until a worker begins it, in seconds; then it gets 503. Under lasting overload, a twentieth of it is enough [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l worker-timeout -d 'Time without a sign of life after which a worker is killed and replaced, in seconds; 0 disables it. An event loop shows life by each turn, a pool of WSGI threads by a thread that is idle, waits for a client or finishes a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l certfile -d 'PEM file with the certificate, followed by its issuers. With keyfile it enables TLS; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l keyfile-password -d 'Password of the private key. Prefer the variable HCRS_KEYFILE_PASSWORD to the flag, which other users of the machine can see' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l verify-mode -d 'Whether client certificates are requested: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l ciphers -d 'Cipher suites of TLS 1.2, as an OpenSSL cipher list. Those of TLS 1.3 are always enabled [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l server-name -d 'Host names that are served, in any case: NAME for every port, NAME:PORT for one. Requests for other hosts get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l websocket-ping-interval -d 'Interval of pings to a WebSocket\'s client, in seconds; the first is sent at once. Unset, none are sent' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l access-logfile -d 'Destination of the access log: a file, - for standard output, or syslog:; unset or empty disables it' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l access-logformat -d 'Format of a line of the access log, with atoms such as %(h)s. Unset, Hypercorn\'s format' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l error-logfile -d 'Destination of the error log: a file, - for standard error, or syslog:; empty disables it [default: -]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l log-level -d 'Least severe level that is logged. Above info, the access log is off as well [default: info]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l log-config -d 'Configuration file of Python\'s logging in the workers: INI, or JSON or TOML by its extension or prefix, as in log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l statsd-host -d 'Address of the statsd server that receives metrics over UDP, as host:port [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l statsd-prefix -d 'Prefix of the metrics\' names; a dot follows it [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l strict -d 'Treat unknown settings as errors instead of warnings'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l debug -d 'Enables asyncio\'s debug mode in the workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l reload -d 'Restarts the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. Requests wait for the new code; if it cannot be loaded, they are answered with the traceback. For development. The configuration is not reloaded'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start child processes, and they end with the server'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l preload -d 'Imports the app once, in a process from which the workers are forked: they share its memory, and one that has died is replaced within milliseconds. SIGHUP and use_reloader load new code all the same. Threads and connections that the app opens at its import do not work in forked workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -l capture-output -d 'Whether what workers and their children write to standard output and standard error goes to the error log, line by line, at every loglevel. Has no effect on a worker that has the terminal'
complete -c hcrs -n "__fish_hcrs_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s c -l config -d 'The configuration: a TOML file, file:PATH for a Python file, or python:MODULE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s b -l bind -d 'Addresses to listen on: HOST:PORT, [IPv6]:PORT, :PORT, unix:PATH or fd://N. With certfile and keyfile, TLS [default: ["127.0.0.1:8000"]]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l insecure-bind -d 'Addresses to listen on without TLS, when bind uses TLS [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l quic-bind -d 'Ignored: HTTP/3 is not supported' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l backlog -d 'Number of connections of each listener that may wait to be accepted [default: 100]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s m -l umask -d 'Permission bits that unix sockets do not get. On the command line in decimal, or in octal as 0o022' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s u -l user -d 'Numeric user id that owns unix sockets; requires group. The server\'s own user is process_user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s g -l group -d 'Numeric group id that owns unix sockets; requires user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l io-threads -d 'Number of edge threads, which serve connections. Unset, one for every four workers' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l max-body-size -d 'Largest body of a request to the app, in bytes, or with K, M or G as "10M". A longer one is answered with 413: at once if content-length names its length, and otherwise when it has grown beyond; the app sees its client leave. A route may have its own. Unset, no limit' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l root-path -d 'The path at which the app is mounted: ASGI\'s root_path, WSGI\'s SCRIPT_NAME [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s w -l workers -d 'Number of worker processes. "auto" starts one for each core that the server may use, by its CPU affinity and the CPU quota of its cgroup (whole cores, at least one). 0 is treated as 1: the app never runs in the main process [default: 1]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s k -l worker-class -d 'The event loop of the workers. uvloop and trio must be installed in the app\'s environment [default: asyncio]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l max-requests -d 'Number of requests after which a worker is replaced, one worker at a time: the new one starts first, and the old one finishes the requests that it has begun. A WebSocket counts as one request. 0 or unset, workers are not replaced' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l max-requests-jitter -d 'Largest random number of requests that is added to max_requests, drawn for each worker when it starts [default: 0]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l max-worker-age -d 'Age in seconds at which a worker is replaced, as with max_requests; up to a tenth earlier, by chance, so that workers are not replaced together' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l max-worker-rss -d 'Resident memory in bytes at which a worker is replaced, as with max_requests; up to a tenth less, by chance. It is looked at every two seconds' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s p -l pid -d 'File for the process id; removed when the server ends' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l python -d 'The Python interpreter of the workers. Unset, the first of: that of python -m hcrs, the virtual environment in which the command is installed, $VIRTUAL_ENV, beside the command, PATH' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l wsgi-threads -d 'Number of threads in each worker of a WSGI app. Unset, the worker chooses' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l queue-size -d 'Number of requests of one edge thread that may wait for a worker; more get 503 [default: 4096]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l queue-bytes -d 'Memory that requests of one edge thread may hold before a worker begins them, in bytes of heads and received bodies; requests beyond it get 503 [default: 67108864]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l proc-name -d 'Name with which the titles of the processes begin in ps and top, as in "hcrs: worker 3 (main:app)" [default: hcrs]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l chdir -d 'Directory that the server changes to once it has read the configuration. Relative paths of all settings are relative to it; itself it is relative to the directory that hcrs is started in' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l env -d 'Environment variables of the workers, in addition to those of the server, as in { LANG = "C.UTF-8" } or ["LANG=C.UTF-8"]. The flag may be repeated' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l process-user -d 'User, by name or number, that the server becomes for good if root has started it, once it has bound its addresses, read keys and certificates and created its files, and before any worker starts. Unset, it keeps its user' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l process-group -d 'Group, by name or number, that the server then has, in addition to those that list the user. Unset, the user\'s own' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l keep-alive -d 'Time after which a connection without a request is closed, in seconds [default: 5]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l read-timeout -d 'Longest pause within a request\'s body, while almost nothing of it waits for the app, and within a WebSocket message, in seconds. In Hypercorn it applies to every read and is unset [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l graceful-timeout -d 'Time for requests, and for the app\'s work after its responses, to finish after the signal to stop, in seconds. The rest is cut off, and the app\'s lifespan shutdown follows [default: 3]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l retire-timeout -d 'Time for requests and WebSockets to finish in a worker that has been replaced (SIGHUP, max_requests), in seconds; with use_reloader at most graceful_timeout [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l queue-timeout -d 'Time for which a request may wait, from its arrival, until a worker begins it, in seconds; then it gets 503. Under lasting overload, a twentieth of it is enough [default: 10]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l worker-timeout -d 'Time without a sign of life after which a worker is killed and replaced, in seconds; 0 disables it. An event loop shows life by each turn, a pool of WSGI threads by a thread that is idle, waits for a client or finishes a request [default: 60]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l certfile -d 'PEM file with the certificate, followed by its issuers. With keyfile it enables TLS; one of the two alone is an error' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l keyfile -d 'PEM file with the certificate\'s private key' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l keyfile-password -d 'Password of the private key. Prefer the variable HCRS_KEYFILE_PASSWORD to the flag, which other users of the machine can see' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l ca-certs -d 'PEM file with the authorities whose client certificates are accepted' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l verify-mode -d 'Whether client certificates are requested: CERT_NONE (0), CERT_OPTIONAL (1) or CERT_REQUIRED (2) [default: CERT_NONE]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l ciphers -d 'Cipher suites of TLS 1.2, as an OpenSSL cipher list. Those of TLS 1.3 are always enabled [default: ECDHE+AESGCM]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l server-name -d 'Host names that are served, in any case: NAME for every port, NAME:PORT for one. Requests for other hosts get 404. Empty, every host is served [default: []]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l websocket-ping-interval -d 'Interval of pings to a WebSocket\'s client, in seconds; the first is sent at once. Unset, none are sent' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l access-logfile -d 'Destination of the access log: a file, - for standard output, or syslog:; unset or empty disables it' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l access-logformat -d 'Format of a line of the access log, with atoms such as %(h)s. Unset, Hypercorn\'s format' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l error-logfile -d 'Destination of the error log: a file, - for standard error, or syslog:; empty disables it [default: -]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l log-level -d 'Least severe level that is logged. Above info, the access log is off as well [default: info]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l log-config -d 'Configuration file of Python\'s logging in the workers: INI, or JSON or TOML by its extension or prefix, as in log.json or json:FILE' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l statsd-host -d 'Address of the statsd server that receives metrics over UDP, as host:port [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l statsd-prefix -d 'Prefix of the metrics\' names; a dot follows it [default: ]' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l admin-bind -d 'Address of the admin interface: unix:PATH, which only the server\'s user may open, or HOST:PORT of a loopback address, which every user of the machine reaches. hcrs status, reload, stop, scale, reopen, drain and dump use it; it has probes, metrics and a page for browsers. Off by default' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l strict -d 'Treat unknown settings as errors instead of warnings'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l debug -d 'Enables asyncio\'s debug mode in the workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l reload -d 'Restarts the workers when a file that they have loaded, or a Python file in the app\'s folder, changes. Requests wait for the new code; if it cannot be loaded, they are answered with the traceback. For development. The configuration is not reloaded'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s D -l daemon -d 'Ignored: Workers are ordinary processes: they may start child processes, and they end with the server'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l preload -d 'Imports the app once, in a process from which the workers are forked: they share its memory, and one that has died is replaced within milliseconds. SIGHUP and use_reloader load new code all the same. Threads and connections that the app opens at its import do not work in forked workers'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -l capture-output -d 'Whether what workers and their children write to standard output and standard error goes to the error log, line by line, at every loglevel. Has no effect on a worker that has the terminal'
complete -c hcrs -n "__fish_hcrs_using_subcommand dev" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and not __fish_seen_subcommand_from dev" -s h -l help -d 'Print help'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and not __fish_seen_subcommand_from dev" -f -a "dev" -d 'Creates a certificate for local development, valid for twelve days: cert.pem and key.pem, signed by the local authority ca.pem'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -l dir -d 'Directory of the files; created if it does not exist' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -l name -d 'Host name or address in the certificate; may be repeated' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -l force -d 'Replace a certificate that is still valid'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_using_subcommand cert; and __fish_seen_subcommand_from dev" -s V -l version -d 'Print version'
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l systemd -d 'Unit that starts the other server; the new unit is printed, followed by the hypercorn.toml' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l from -d 'Server of the settings in FILE, if it is not evident: uvicorn, gunicorn, granian or hypercorn' -r
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -s o -l output -d 'Write the hypercorn.toml to this file' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l unit-output -d 'Write the new unit to this file' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l python -d 'Interpreter that evaluates files in Python' -r -F
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -l force -d 'Replace existing files'
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c hcrs -n "__fish_hcrs_using_subcommand migrate" -s V -l version -d 'Print version'
