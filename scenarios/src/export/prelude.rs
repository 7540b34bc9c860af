/// What both sides serve. The id of a method tells what it does.
#[derive(Clone)]
#[allow(dead_code)] //? own
struct Object(Rc<State>); //? state
struct Object(Rc<String>); //? names !state
struct Object(Rc<()>); //? !names !state

#[derive(Default)] //? !names
struct State {
    name: String, //? names
    kept: RefCell<Option<Client>>, //? kept
}

impl FromServer<Object> for Client {
    type Dispatch = Box<Object>;

    fn from_server(object: Rc<Object>) -> Box<Object> {
        Box::new((*object).clone())
    }
}

impl Server for Box<Object> {
    fn dispatch_call(self, _: u64, id: u16, p: Params<Any>, r: Results<Any>) -> DispatchCallResult {
        let this = self.clone(); //? outlived
        let work = async move {
            drop((r, p, self)); //? !caps
            {captured} //? caps
            let cap = params.get()?.get_as_capability::<Client>().ok(); //? caps
            {methods} //? caps
            Ok(())
        };
        let promise = {outcomes}; //? outcomes
        DispatchCallResult::new(promise, {streams}) //? outcomes
        DispatchCallResult::new(Promise::from_future(work), {streams}) //? !outcomes
    }

    fn as_ptr(&self) -> usize {
        Rc::as_ptr(&self.0) as usize //? !own
        std::ptr::from_ref(&**self) as usize //? own
    }
}

fn object() -> Client { //? !names
fn object(name: &str) -> Client { //? names
    new_client(Object(Rc::default())) //? !names
    let name = name.to_owned(); //? names state
    let kept = RefCell::default(); //? names kept
    let object = Rc::new(State { name }); //? listed !kept state
    let object = Rc::new(State { name, kept }); //? listed kept
    let object = Rc::new(name.to_owned()); //? listed !state
    executor().objects.push(Rc::downgrade(&object)); //? listed
    new_client(Object(object)) //? listed
    new_client(Object(Rc::new(State { name }))) //? names !listed !kept
    new_client(Object(Rc::new(State { name, kept }))) //? names !listed kept
}

impl Drop for State { //? drops
    fn drop(&mut self) { //? drops
        {drops} //? drops
    } //? drops
} //? drops

fn call(target: &Client, id: u16, cap: Option<&Client>) -> RemotePromise<Any> { //? passes
fn call(target: &Client, id: u16) -> RemotePromise<Any> { //? !passes
    let mut request = target.hook.new_call(0, id, None); //? passes
    put(request.get(), cap); //? passes
    request.hook.send() //? passes
    target.hook.new_call(0, id, None).hook.send() //? !passes
}

fn stream(target: &Client, id: u16, cap: Option<&Client>) -> Promise<(), Error> { //? passes
fn stream(target: &Client, id: u16) -> Promise<(), Error> { //? !passes
    let mut request = target.hook.new_call(0, id, None); //? passes
    put(request.get(), cap); //? passes
    request.hook.send_streaming() //? passes
    target.hook.new_call(0, id, None).hook.send_streaming() //? !passes
}

fn put(mut to: any_pointer::Builder, cap: Option<&Client>) {
    if let Some(cap) = cap {
        to.set_as_capability(cap.hook.add_ref());
    }
}

/// Waits for the answer, in a task.
fn answer(sent: RemotePromise<Any>) -> usize { //? !keeps
fn answer(sent: RemotePromise<Any>) -> (usize, Kept) { //? keeps
    drop(sent.pipeline);
    spawn(sent.promise.map(drop)) //? !keeps
    let (sender, kept) = oneshot::channel(); //? keeps
    (spawn(sent.promise.map(|it| drop(sender.send(it)))), kept) //? keeps
}

fn capability(response: &Response<Any>) -> Client {
    response.get().unwrap().get_as_capability().unwrap()
}

type Kept = oneshot::Receiver<Result<Response<Any>, Error>>;

type Receiver = mpsc::UnboundedReceiver<io::Result<Vec<u8>>>;

type Sender = mpsc::UnboundedSender<io::Result<Vec<u8>>>;

/// One side of a connection whose bytes go through two channels.
fn vat(side: Side, reader: Receiver, writer: Sender) -> RpcSystem<Side> { //? !names
fn vat(side: Side, reader: Receiver, writer: Sender, serves: &str) -> RpcSystem<Side> { //? names
    let (reader, writer) = (reader.into_async_read(), AllowStdIo::new(Writer(writer)));
    let network = twoparty::VatNetwork::new(reader, writer, side, Default::default());
    RpcSystem::new(Box::new(network), Some(object())) //? !names
    RpcSystem::new(Box::new(network), Some(object(serves))) //? names
}

type Shared = Rc<RefCell<Option<RpcSystem<Side>>>>;

/// Runs a system that is asked for more meanwhile.
fn run(system: &Shared) -> usize {
    let system = system.clone();
    spawn(async move {
        drop(poll_fn(|context| running(&system).poll_unpin(context)).await);
        drop(system.take());
    })
}

fn running(system: &Shared) -> RefMut<'_, RpcSystem<Side>> {
    RefMut::map(system.borrow_mut(), |system| system.as_mut().unwrap())
}

struct Writer(Sender);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.unbounded_send(Ok(bytes.to_vec()));
        sent.map_or(Err(io::ErrorKind::BrokenPipe.into()), |()| Ok(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct Executor {
    tasks: Vec<Option<LocalBoxFuture<'static, ()>>>,
    woken: [VecDeque<usize>; 2],
    aborted: Vec<usize>, //? abort_within
    sleeping: VecDeque<oneshot::Sender<()>>, //? sleep
    objects: Vec<Weak<State>>, //? listed state
    objects: Vec<Weak<String>>, //? listed !state
}

thread_local!(static EXECUTOR: &'static RefCell<Executor> = Box::leak(Box::default()));

fn executor() -> RefMut<'static, Executor> {
    EXECUTOR.with(|executor| executor.borrow_mut())
}

struct Wakes(usize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let Executor { tasks, woken } = &mut *executor(); //? !more
        let Executor { tasks, woken, .. } = &mut *executor(); //? more
        if !woken.iter().flatten().any(|id| *id == self.0) {
            woken[usize::from(tasks[self.0].is_none())].push_back(self.0);
        }
    }
}

fn spawn(task: impl Future<Output = ()> + 'static) -> usize {
    let Executor { tasks, woken } = &mut *executor(); //? !more
    let Executor { tasks, woken, .. } = &mut *executor(); //? more
    tasks.push(Some(task.boxed_local()));
    woken[0].push_back(tasks.len() - 1);
    tasks.len() - 1
}

fn abort(id: usize) {
    let task = executor().tasks[id].take();
    if task.is_none() { //? abort_within
        executor().aborted.push(id); //? abort_within
    } //? abort_within
    drop(task);
}

/// Polls so many times, or until nothing can run: who was woken first, behind them who woke itself.
fn steps(mut count: usize) {
    while count > 0 {
        let next = executor().woken.iter_mut().find_map(VecDeque::pop_front);
        let Some(id) = next else { return }; //? !sleep
        let Some(id) = next else { //? sleep
            let first = executor().sleeping.pop_front(); //? sleep
            let Some(wake) = first else { return }; //? sleep
            drop(wake); //? sleep
            continue; //? sleep
        }; //? sleep
        let next = executor().tasks[id].take();
        let Some(mut task) = next else { continue };
        let waker = Arc::new(Wakes(id)).into();
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_pending() { //? !abort_within
        if polled.is_pending() && !executor().aborted.contains(&id) { //? abort_within
            executor().tasks[id] = Some(task);
        }
        count -= 1;
    }
}

fn sleep_until_rest() -> impl Future<Output = ()> {
    let (sender, receiver) = oneshot::channel::<()>();
    executor().sleeping.push_back(sender);
    receiver.map(drop)
}
