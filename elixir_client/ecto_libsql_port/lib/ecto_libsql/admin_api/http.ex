defmodule EctoLibSql.AdminApi.Http do
  @moduledoc false
  # One request over HTTP/1.1, on the way that connections take: through the same proxy, trusting the same authorities, with the same
  # certificate of the client. OTP's own client tunnels to encrypted servers alone, and bounds no answer. Called by
  # `EctoLibSql.AdminApi`. Errors are texts without the headers that were sent.

  alias EctoLibSql.AdminApi.Proxy
  alias LibsqlPort.ServerUrl

  @line_bytes_max 16_384
  @headers_max 100
  @body_bytes_max 1_048_576
  @connect_ms 10_000

  @type header :: {String.t(), String.t()}
  @typedoc "Monotonic milliseconds."
  @type deadline :: integer

  @doc "Sends a request; the status and body of its answer. `options` are those of a connection."
  @spec request(ServerUrl.t(), String.t(), String.t(), [header], iodata, keyword, pos_integer) ::
          {:ok, pos_integer, binary} | {:error, String.t()}
  def request(url, method, path, headers, body, options, timeout) do
    deadline = now() + timeout

    with {:ok, port} <- port(url),
         {:ok, proxy} <- Proxy.of(options[:proxy], url, port),
         {:ok, tls} <- tls(url, options),
         {:ok, socket} <- connect({url.host, port}, proxy, tls, min(deadline, connect_by(options))) do
      head = [
        [method, " ", base(url), path, " HTTP/1.1\r\nhost: ", authority(url.host, port), "\r\n"],
        ["connection: close\r\ncontent-length: ", Integer.to_string(IO.iodata_length(body)), "\r\n"],
        [Enum.map(headers, fn {name, value} -> [name, ": ", value, "\r\n"] end), "\r\n"]
      ]

      try do
        with :ok <- sent(socket, [head, body]), do: answer(socket, deadline)
      after
        close(socket)
      end
    end
  end

  defp connect_by(options) do
    case options[:server_connect_timeout] do
      nil -> now() + @connect_ms
      0 -> :infinity
      ms -> now() + ms
    end
  end

  defp port(%ServerUrl{url: url, encrypted?: encrypted?}) do
    case URI.parse(url).port do
      # Of libsql://, and of schemes whose default is another one with `?tls=`.
      nil -> {:ok, if(encrypted?, do: 443, else: 80)}
      port when port in 1..65_535 -> {:ok, port}
      _ -> {:error, "the port of the address is none"}
    end
  end

  defp base(%ServerUrl{url: url}), do: String.trim_trailing(URI.parse(url).path || "", "/")

  defp authority(host, port), do: if(host =~ ":", do: "[#{host}]:#{port}", else: "#{host}:#{port}")

  # --- socket ---------------------------------------------------------------------------------------------------

  defp connect({host, port}, nil, nil, deadline), do: tcp(host, port, deadline)

  defp connect({host, port}, nil, tls, deadline) do
    with {:ok, socket} <- tcp(host, port, deadline), do: encrypt(socket, host, tls, deadline)
  end

  defp connect({host, port}, %Proxy{} = proxy, tls, deadline) do
    with {:ok, socket} <- tunnelled(proxy, authority(host, port), deadline) do
      if tls, do: encrypt(socket, host, tls, deadline), else: {:ok, socket}
    end
  end

  defp tunnelled(proxy, address, deadline) do
    with {:ok, socket} <- tcp(proxy.host, proxy.port, deadline),
         :ok <- socket |> tunnel(proxy, address, deadline) |> or_closed(socket) do
      {:ok, socket}
    else
      {:error, message} -> {:error, "the proxy #{proxy.host}:#{proxy.port}: #{message}"}
    end
  end

  defp or_closed({:error, _message} = error, socket), do: tap(error, fn _ -> close(socket) end)
  defp or_closed(done, _socket), do: done

  defp tcp(host, port, deadline) do
    Enum.find_value(families(host), fn {family, address, last?} ->
      case :gen_tcp.connect(address, port, [family, :binary, active: false], left(deadline)) do
        {:ok, socket} -> {:ok, {:gen_tcp, socket}}
        {:error, reason} -> if last?, do: {:error, "cannot connect to #{host}: #{reason(reason)}"}
      end
    end)
  end

  defp families(host) do
    case address(host) do
      address when tuple_size(address) == 4 -> [{:inet, address, true}]
      address when is_tuple(address) -> [{:inet6, address, true}]
      name -> [{:inet, name, false}, {:inet6, name, true}]
    end
  end

  # As Erlang has it: a tuple, or the name.
  defp address(host) do
    name = String.to_charlist(host)
    with {:error, _no_address} <- :inet.parse_address(name), do: name, else: ({:ok, address} -> address)
  end

  defp tunnel(socket, proxy, address, deadline) do
    authorization =
      if proxy.authorization, do: ["proxy-authorization: ", proxy.authorization, "\r\n"], else: []

    head = ["CONNECT ", address, " HTTP/1.1\r\nhost: ", address, "\r\n", authorization, "\r\n"]

    with :ok <- sent(socket, head),
         {:ok, status, _headers} <- head(socket, deadline) do
      if status in 200..299, do: setopts(socket, packet: :raw), else: {:error, "it answers #{status}"}
    end
  end

  # `:ssl` is called by its name only: an application need not have it.
  defp encrypt({:gen_tcp, socket} = plain, host, options, deadline) do
    address = address(host)
    # An address is no name that a server could be asked for, and is looked for in the certificate here.
    name = if is_tuple(address), do: :disable, else: address

    with {:ok, socket} <-
           apply(:ssl, :connect, [socket, [server_name_indication: name] ++ options, left(deadline)]),
         encrypted = {:ssl, socket},
         :ok <- encrypted |> meant(address) |> or_closed(encrypted) do
      {:ok, encrypted}
    else
      {:error, reason} -> or_closed({:error, "TLS with #{host} fails: #{reason(reason)}"}, plain)
    end
  end

  defp meant({:ssl, socket}, address) when is_tuple(address) do
    with {:ok, certificate} <- apply(:ssl, :peercert, [socket]) do
      if apply(:public_key, :pkix_verify_hostname, [certificate, [ip: address]]),
        do: :ok,
        else: {:error, {:tls_alert, {:bad_certificate, "the server's certificate is not for this address"}}}
    end
  end

  defp meant(_socket, _checked_by_name), do: :ok

  # --- TLS ------------------------------------------------------------------------------------------------------

  defp tls(%ServerUrl{encrypted?: false}, _options), do: {:ok, nil}

  defp tls(_url, options) do
    with {:ok, _} <- Application.ensure_all_started(:ssl),
         {:ok, own} <- certificates(:ca_file, options[:ca_file]),
         {:ok, _} <- certificates(:client_cert_file, options[:client_cert_file]),
         {:ok, _} <- pem(:client_key_file, options[:client_key_file]) do
      case own ++ system(options[:roots]) do
        [] -> {:error, "there is no authority to trust: name its certificates by the option :ca_file"}
        trusted -> {:ok, [verify: :verify_peer, cacerts: trusted] ++ hostname() ++ client(options)}
      end
    else
      {:error, message} when is_binary(message) -> {:error, message}
      {:error, _missing} -> {:error, "Erlang's application ssl is not there, which https:// needs"}
    end
  end

  # Mozilla's are in the sidecar alone; those of the system must not be trusted in their place.
  defp system(:webpki), do: []

  defp system(_native) do
    apply(:public_key, :cacerts_get, [])
  rescue
    # A system without any.
    _error -> []
  end

  defp hostname do
    [customize_hostname_check: [match_fun: apply(:public_key, :pkix_verify_hostname_match_fun, [:https])]]
  end

  defp client(options) do
    for {name, option} <- [certfile: :client_cert_file, keyfile: :client_key_file],
        file = options[option],
        do: {name, file}
  end

  defp certificates(option, file) do
    with {:ok, entries} <- pem(option, file), do: {:ok, for({:Certificate, der, _} <- entries, do: der)}
  end

  defp pem(_option, nil), do: {:ok, []}

  defp pem(option, file) do
    with {:ok, text} <- File.read(file),
         [_ | _] = entries <- apply(:public_key, :pem_decode, [text]) do
      {:ok, entries}
    else
      {:error, reason} -> {:error, "the option #{inspect(option)}: #{file}: #{:file.format_error(reason)}"}
      [] -> {:error, "the option #{inspect(option)}: #{file} holds nothing in PEM form"}
    end
  end

  # --- the answer -----------------------------------------------------------------------------------------------

  defp answer(socket, deadline) do
    case head(socket, deadline) do
      # 100 Continue and its like come before the answer.
      {:ok, status, _headers} when status in 100..199 -> answer(socket, deadline)
      {:ok, status, headers} -> with {:ok, body} <- body(socket, headers, deadline), do: {:ok, status, body}
      {:error, _message} = error -> error
    end
  end

  defp head(socket, deadline) do
    with :ok <- setopts(socket, packet: :http_bin, packet_size: @line_bytes_max),
         {:ok, {:http_response, _version, status, _words}} <- recv(socket, 0, deadline) do
      headers(socket, status, [], deadline)
    else
      {:ok, _something_else} -> {:error, "what comes back is no HTTP"}
      {:error, _message} = error -> error
    end
  end

  defp headers(_socket, _status, headers, _deadline) when length(headers) > @headers_max,
    do: {:error, "the answer has too many headers"}

  defp headers(socket, status, headers, deadline) do
    case recv(socket, 0, deadline) do
      {:ok, {:http_header, _, name, _, value}} ->
        headers(socket, status, [{name |> to_string() |> String.downcase(:ascii), value} | headers], deadline)

      {:ok, :http_eoh} ->
        {:ok, status, headers}

      {:ok, _broken} ->
        {:error, "what comes back is no HTTP"}

      {:error, _message} = error ->
        error
    end
  end

  defp body(socket, headers, deadline) do
    with :ok <- setopts(socket, packet: :raw) do
      case {List.keyfind(headers, "transfer-encoding", 0), List.keyfind(headers, "content-length", 0)} do
        {{_, encoding}, _} ->
          if encoding =~ ~r/chunked/i, do: chunks(socket, "", deadline), else: unreadable()

        {nil, {_, length}} ->
          of_length(socket, Integer.parse(length), deadline)

        {nil, nil} ->
          rest(socket, "", deadline)
      end
    end
  end

  defp of_length(_socket, {0, ""}, _deadline), do: {:ok, ""}

  defp of_length(socket, {length, ""}, deadline) when length in 1..@body_bytes_max,
    do: recv(socket, length, deadline)

  defp of_length(_socket, {length, ""}, _deadline) when length > 0, do: too_long()
  defp of_length(_socket, _no_number, _deadline), do: unreadable()

  defp chunks(socket, body, deadline) do
    with :ok <- setopts(socket, packet: :line),
         {:ok, line} <- recv(socket, 0, deadline),
         :ok <- setopts(socket, packet: :raw) do
      case Integer.parse(line, 16) do
        {0, _} ->
          {:ok, body}

        {size, _} when size > 0 and byte_size(body) + size <= @body_bytes_max ->
          chunk(socket, body, size, deadline)

        {size, _} when size > 0 ->
          too_long()

        _ ->
          unreadable()
      end
    end
  end

  defp chunk(socket, body, size, deadline) do
    # With the end of its line.
    with {:ok, data} <- recv(socket, size + 2, deadline),
         do: chunks(socket, body <> binary_part(data, 0, size), deadline)
  end

  defp rest(_socket, body, _deadline) when byte_size(body) > @body_bytes_max, do: too_long()

  defp rest({module, plain} = socket, body, deadline) do
    case apply(module, :recv, [plain, 0, left(deadline)]) do
      {:ok, data} -> rest(socket, body <> data, deadline)
      {:error, :closed} -> {:ok, body}
      {:error, reason} -> {:error, reason(reason)}
    end
  end

  defp too_long, do: {:error, "the answer is longer than #{@body_bytes_max} bytes"}
  defp unreadable, do: {:error, "the body of the answer cannot be read"}

  # --- both kinds of sockets ------------------------------------------------------------------------------------

  defp sent({module, socket}, data), do: said(apply(module, :send, [socket, data]))

  defp recv({module, socket}, length, deadline),
    do: said(apply(module, :recv, [socket, length, left(deadline)]))

  defp setopts({:gen_tcp, socket}, options), do: said(:inet.setopts(socket, options))
  # It knows no limit of its own for a line.
  defp setopts({:ssl, socket}, options), do: said(apply(:ssl, :setopts, [socket, options]))

  defp close({module, socket}), do: apply(module, :close, [socket])

  defp said({:error, reason}), do: {:error, reason(reason)}
  defp said(done), do: done

  defp reason(:timeout), do: "it does not answer in time"
  defp reason(:closed), do: "the connection was closed"
  defp reason({:tls_alert, {_name, words}}), do: words |> to_string() |> String.slice(0, 300)

  defp reason(reason) when is_atom(reason) do
    words = to_string(:inet.format_error(reason))
    if String.starts_with?(words, "unknown"), do: Atom.to_string(reason), else: words
  end

  defp reason(reason), do: inspect(reason, limit: 10, printable_limit: 200)

  # A little is left for whoever is late: what has come is read.
  defp left(:infinity), do: :infinity
  defp left(deadline), do: max(deadline - now(), 0)

  defp now, do: System.monotonic_time(:millisecond)
end
